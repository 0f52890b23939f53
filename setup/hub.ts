import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { SoftflowError } from '../errors.ts';
import { type CacheEntry, cacheRoot, ensureCached, findCached } from './cache.ts';
import type { OnProgress } from './progress.ts';

/** A model on the Hugging Face hub or on a server that speaks the same API. */
export interface HubModel {
  /** `organisation/name`. */
  id: string;
  /** Branch, tag or commit. Default `main`. */
  revision?: string;
}

export interface HubOptions {
  onProgress?: OnProgress;
  /** Default `HF_ENDPOINT`, else https://huggingface.co. */
  endpoint?: string;
  /** Access token. Default `HF_TOKEN`. Sent to the endpoint only, and never over plain http to another machine. */
  token?: string;
  /** The variable that the token came from, for messages. Default `HF_TOKEN`. */
  tokenName?: string;
  /** Wait before the first repeat of a failed request, doubled each time. Default 1000. */
  retryDelayMs?: number;
}

export interface HubResult {
  folder: string;
  /** The commit that the revision stood for: what a run must record. */
  commit: string;
}

interface HubFile {
  name: string;
  sizeBytes: number;
  /** Of files in large-file storage. */
  sha256?: string;
  /** Git's blob hash, of the others. */
  gitSha1?: string;
}

const COMMIT = /^[0-9a-f]{40}$/;
const SMALL_FILES = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
];
const INDEX = 'model.safetensors.index.json';
const MAX_INDEX_BYTES = 50_000_000;
const ATTEMPTS = 4;
const STALL_MS = 60_000;

/**
 * Folder with a hub model: configuration, tokenizer and safetensors, every file checked by size and digest. A download that
 * was interrupted goes on where it stopped. A commit that is in the cache needs no network; neither does a branch or tag
 * that was resolved before, while the hub does not answer.
 *
 * @throws SoftflowError `HUB_ID_INVALID`, `HUB_ACCESS`, `HUB_NOT_FOUND`, `HUB_UNREACHABLE` (retryable), `HUB_NO_WEIGHTS`,
 *   `HUB_FILE_DAMAGED` (retryable), `HUB_ENDPOINT_INVALID`
 */
export async function ensureHubModel(model: HubModel, options: HubOptions = {}): Promise<HubResult> {
  const hub = new Hub(model, options);
  const commit = await hub.resolveCommit();
  const folder = await ensureCached(hub.entry(commit), (target) => hub.download(commit, target));
  options.onProgress?.({ item: 'model', phase: 'ready', message: `${model.id} at ${commit.slice(0, 12)}` });
  return { folder, commit };
}

class Hub {
  readonly #id: string;
  readonly #revision: string;
  readonly #endpoint: string;
  readonly #token: string | undefined;
  readonly #tokenName: string;
  readonly #retryDelayMs: number;
  readonly #onProgress: OnProgress;

  constructor(model: HubModel, options: HubOptions) {
    this.#id = model.id;
    this.#revision = model.revision ?? 'main';
    if (
      !/^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/.test(this.#id) ||
      !/^[\w-][\w./-]*$/.test(this.#revision) ||
      /\.\./.test(this.#id + this.#revision)
    ) {
      throw new SoftflowError(
        'HUB_ID_INVALID',
        `Not a hub model: expected an id like "HuggingFaceTB/SmolLM2-135M" and a branch, tag or commit, received ` +
          `${JSON.stringify(this.#id)} at ${JSON.stringify(this.#revision)}.`,
        { details: { id: this.#id, revision: this.#revision } },
      );
    }
    this.#endpoint = checkedEndpoint(options.endpoint ?? (process.env['HF_ENDPOINT'] || 'https://huggingface.co'));
    this.#token = options.token ?? process.env['HF_TOKEN'];
    this.#tokenName = options.tokenName ?? 'HF_TOKEN';
    this.#retryDelayMs = options.retryDelayMs ?? 1000;
    this.#onProgress = options.onProgress ?? (() => {});
  }

  entry(commit: string): CacheEntry {
    return { name: `hub/${this.#id.replace('/', '--')}/${commit}`, keyFiles: ['config.json'] };
  }

  async resolveCommit(): Promise<string> {
    if (COMMIT.test(this.#revision) && (await findCached(this.entry(this.#revision)))) return this.#revision;
    const pointer = join(
      cacheRoot(),
      'hub',
      this.#id.replace('/', '--'),
      'revisions',
      encodeURIComponent(this.#revision),
    );
    try {
      const { commit } = await this.#describe(this.#revision);
      await mkdir(join(pointer, '..'), { recursive: true });
      await writeFile(`${pointer}.${process.pid}`, commit);
      await rename(`${pointer}.${process.pid}`, pointer);
      return commit;
    } catch (error) {
      const known = (await readFile(pointer, 'utf8').catch(() => '')).trim();
      const unreachable = error instanceof SoftflowError && error.code === 'HUB_UNREACHABLE';
      if (!unreachable || !COMMIT.test(known) || !(await findCached(this.entry(known)))) throw error;
      const message = `The hub does not answer; going on with ${this.#id} at ${known}, which is in the cache.`;
      this.#onProgress({ item: 'model', phase: 'notice', message });
      return known;
    }
  }

  /** Downloads the files of a commit into `target`. */
  async download(commit: string, target: string): Promise<void> {
    const { files } = await this.#describe(commit);
    const parts = join(cacheRoot(), 'tmp', `hub-${this.#id.replace('/', '--')}-${commit}`);
    await mkdir(parts, { recursive: true });
    const wanted = await this.#selectFiles(commit, files);
    const totalBytes = wanted.reduce((sum, file) => sum + file.sizeBytes, 0);
    let before = 0;
    for (const file of wanted) {
      const path = await this.#downloadFile(commit, file, parts, (bytes) =>
        this.#onProgress({ item: 'model', phase: 'download', bytes: before + bytes, totalBytes, message: file.name }),
      );
      await rename(path, join(target, file.name));
      before += file.sizeBytes;
    }
    await rmdir(parts).catch(() => {});
  }

  async #describe(revision: string): Promise<{ commit: string; files: HubFile[] }> {
    const url = `${this.#endpoint}/api/models/${this.#id}/revision/${encodeURIComponent(revision)}?blobs=true`;
    const body = await this.#retry(async () => (await this.#request(url)).json() as Promise<ModelDescription>);
    if (typeof body.sha !== 'string' || !COMMIT.test(body.sha))
      throw this.#unreachable(url, 'the answer names no commit');
    const files = (body.siblings ?? []).flatMap(({ rfilename, size, blobId, lfs }) => {
      const sizeBytes = lfs?.size ?? size;
      if (!/^[\w-][\w.-]*$/.test(rfilename) || !Number.isSafeInteger(sizeBytes)) return [];
      return [
        { name: rfilename, sizeBytes: sizeBytes as number, sha256: lfs?.sha256, gitSha1: lfs ? undefined : blobId },
      ];
    });
    return { commit: body.sha, files };
  }

  /** Configuration, tokenizer, and either the shards that the index names or the single file; never pickled weights. */
  async #selectFiles(commit: string, files: HubFile[]): Promise<HubFile[]> {
    const byName = new Map(files.map((file) => [file.name, file]));
    const index = byName.get(INDEX);
    const weights = index ? [INDEX, ...(await this.#shards(commit, index))] : ['model.safetensors'];
    const missing = ['config.json', ...weights].filter((name) => !byName.has(name));
    if (missing.length > 0) {
      throw new SoftflowError(
        'HUB_NO_WEIGHTS',
        `The hub model ${this.#id} at ${commit} has no ${missing.join(', ')}: expected config.json and safetensors weights, ` +
          `found ${[...byName.keys()].join(', ') || 'no files'}. Choose a revision with safetensors, or convert the model.`,
        { details: { id: this.#id, commit, missing } },
      );
    }
    return [...SMALL_FILES, ...weights].flatMap((name) => byName.get(name) ?? []);
  }

  async #shards(commit: string, index: HubFile): Promise<string[]> {
    if (index.sizeBytes > MAX_INDEX_BYTES) throw this.#damaged(index, `it has ${index.sizeBytes} bytes`);
    const url = this.#fileUrl(commit, INDEX);
    const text = await this.#retry(async () => (await this.#request(url)).text());
    try {
      const { weight_map: map } = JSON.parse(text) as { weight_map: Record<string, string> };
      return [...new Set(Object.values(map))].sort();
    } catch (error) {
      throw this.#damaged(index, (error as Error).message);
    }
  }

  /** The path of the whole, checked file. */
  async #downloadFile(
    commit: string,
    file: HubFile,
    folder: string,
    onBytes: (bytes: number) => void,
  ): Promise<string> {
    const path = await claimPart(folder, file.name);
    await this.#retry(() => this.#continueFile(commit, file, path, onBytes));
    const received = await digestOf(path, file);
    const expected = file.sha256 ?? file.gitSha1;
    if (expected === undefined || received === expected) return path;
    await rm(path);
    throw this.#damaged(file, `expected digest ${expected}, received ${received}`);
  }

  async #continueFile(commit: string, file: HubFile, path: string, onBytes: (bytes: number) => void): Promise<void> {
    let at = (await stat(path).catch(() => undefined))?.size ?? 0;
    if (at > file.sizeBytes) at = 0;
    const handle = await open(path, at > 0 ? 'r+' : 'w');
    try {
      if (at === file.sizeBytes) return onBytes(at);
      const headers: Record<string, string> = at > 0 ? { range: `bytes=${at}-` } : {};
      const response = await this.#request(this.#fileUrl(commit, file.name), headers);
      if (response.status !== 206) {
        at = 0;
        await handle.truncate(0);
      }
      for await (const chunk of withoutStall(response)) {
        if (at + chunk.length > file.sizeBytes) {
          await handle.truncate(0);
          throw this.#damaged(file, `expected ${file.sizeBytes} bytes, received more`);
        }
        await handle.write(chunk, 0, chunk.length, at);
        at += chunk.length;
        onBytes(at);
      }
      if (at < file.sizeBytes) throw this.#unreachable(this.#fileUrl(commit, file.name), `it stopped at byte ${at}`);
    } finally {
      await handle.close();
    }
  }

  #fileUrl(commit: string, name: string): string {
    return `${this.#endpoint}/${this.#id}/resolve/${commit}/${name}`;
  }

  async #request(url: string, headers: Record<string, string> = {}): Promise<Response> {
    const authorization: Record<string, string> = this.#mayCarryToken(url)
      ? { authorization: `Bearer ${this.#token}` }
      : {};
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(new Error(`no answer within ${STALL_MS / 1000} s`)), STALL_MS);
    let response: Response;
    try {
      // A redirect to another origin (the hub's storage) loses the authorization header: the rule of fetch.
      response = await fetch(url, { headers: { ...headers, ...authorization }, signal: abort.signal });
    } catch (error) {
      throw this.#unreachable(url, causeOf(error));
    } finally {
      clearTimeout(timer);
    }
    if (response.ok) return response;
    await response.body?.cancel();
    throw this.#refused(url, response.status);
  }

  #mayCarryToken(url: string): boolean {
    const { protocol, hostname } = new URL(url);
    return Boolean(this.#token) && (protocol === 'https:' || ['127.0.0.1', 'localhost', '[::1]'].includes(hostname));
  }

  async #retry<T>(attempt: () => Promise<T>): Promise<T> {
    for (let left = ATTEMPTS - 1; ; left--) {
      try {
        return await attempt();
      } catch (error) {
        if (['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
        const failure = error instanceof SoftflowError ? error : this.#unreachable(this.#endpoint, causeOf(error));
        if (failure.code !== 'HUB_UNREACHABLE' || left === 0) throw failure;
        await sleep(this.#retryDelayMs * 2 ** (ATTEMPTS - 1 - left));
      }
    }
  }

  #refused(url: string, status: number): SoftflowError {
    const details = { url: publicUrl(url), status };
    if (status === 401 || status === 403) {
      const token = this.#token ? `the token in ${this.#tokenName} has no access to it` : 'no token is set';
      return new SoftflowError(
        'HUB_ACCESS',
        `The hub refused ${this.#id} (HTTP ${status}); ${token}. Accept the model's licence on its page if it has one, and ` +
          `set ${this.#tokenName} to a token that may read it.`,
        { details },
      );
    }
    if (status === 404) {
      return new SoftflowError(
        'HUB_NOT_FOUND',
        `The hub has no ${publicUrl(url)} (HTTP 404). Check the id "${this.#id}" and the revision "${this.#revision}".`,
        { details },
      );
    }
    return this.#unreachable(url, `HTTP ${status}`);
  }

  #unreachable(url: string, why: string): SoftflowError {
    return new SoftflowError(
      'HUB_UNREACHABLE',
      `The hub did not deliver ${publicUrl(url)}: ${why}. Check the network, or set HF_ENDPOINT to a mirror, or give the ` +
        'model as a folder.',
      { retryable: true, details: { url: publicUrl(url) } },
    );
  }

  #damaged(file: HubFile, why: string): SoftflowError {
    return new SoftflowError(
      'HUB_FILE_DAMAGED',
      `The file ${file.name} of ${this.#id} is not what the hub describes: ${why}. It was not used. Run the command again.`,
      { retryable: true, details: { id: this.#id, file: file.name } },
    );
  }
}

function checkedEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol) && !url.username && !url.password) return text.replace(/\/+$/, '');
  throw new SoftflowError(
    'HUB_ENDPOINT_INVALID',
    'HF_ENDPOINT is not an address: expected http:// or https:// with a host and without user or password. Tokens go in ' +
      'HF_TOKEN.',
  );
}

interface ModelDescription {
  sha?: string;
  siblings?: { rfilename: string; size?: number; blobId?: string; lfs?: { sha256: string; size: number } }[];
}

/**
 * Name of this process's own part file, with what a process that is gone had already fetched: a rename decides which
 * process goes on with it.
 */
async function claimPart(folder: string, name: string): Promise<string> {
  const own = join(folder, `${name}.${process.pid}.part`);
  for (const found of await readdir(folder)) {
    const match = /^(.*)\.(\d+)\.part$/.exec(found);
    if (match?.[1] !== name || isAlive(Number(match[2]))) continue;
    await rename(join(folder, found), own).catch(() => {});
  }
  return own;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function digestOf(path: string, file: HubFile): Promise<string> {
  const hash: Hash = file.sha256 ? createHash('sha256') : createHash('sha1').update(`blob ${file.sizeBytes}\0`);
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

async function* withoutStall(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (;;) {
      const timeout = new AbortController();
      const stalled = sleep(STALL_MS, undefined, { signal: timeout.signal }).then(() => {
        throw new Error(`nothing came for ${STALL_MS / 1000} s`);
      });
      stalled.catch(() => {});
      const { done, value } = await Promise.race([reader.read(), stalled]).finally(() => timeout.abort());
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function causeOf(error: unknown): string {
  const { cause, message } = error as Error;
  return cause instanceof Error ? cause.message : message;
}

/** The address without user, password and query. */
function publicUrl(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}
