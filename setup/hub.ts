import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { SoftflowError } from '../errors.ts';
import { type CacheEntry, cacheRoot, ensureCached, findCached } from './cache.ts';
import { COMMIT, HubClient, type HubFile, type HubModel, type HubOptions, withoutStall } from './hub-client.ts';
import type { OnProgress } from './progress.ts';

export interface HubResult {
  folder: string;
  /** The commit that the revision stood for: what a run must record. */
  commit: string;
}

const SMALL_FILES = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
];
const INDEX = 'model.safetensors.index.json';
const MAX_INDEX_BYTES = 50_000_000;

/**
 * Folder with a hub model: configuration, tokenizer and safetensors, every file checked by size and digest. A download that
 * was interrupted goes on where it stopped. A commit that is in the cache needs no network; neither does a branch or tag
 * that was resolved before, while the hub does not answer.
 *
 * @throws SoftflowError `HUB_ID_INVALID`, `HUB_ACCESS`, `HUB_NOT_FOUND`, `HUB_UNREACHABLE` (retryable), `HUB_NO_WEIGHTS`,
 *   `HUB_FILE_DAMAGED` (retryable), `HUB_ENDPOINT_INVALID`
 */
export async function ensureHubModel(model: HubModel, options: HubOptions = {}): Promise<HubResult> {
  const hub = new HubDownload(new HubClient(model, options), options.onProgress ?? (() => {}));
  const commit = await hub.resolveCommit();
  const folder = await ensureCached(hub.entry(commit), (target) => hub.download(commit, target));
  options.onProgress?.({ item: 'model', phase: 'ready', message: `${model.id} at ${commit.slice(0, 12)}` });
  return { folder, commit };
}

class HubDownload {
  readonly #hub: HubClient;
  readonly #onProgress: OnProgress;

  constructor(hub: HubClient, onProgress: OnProgress) {
    this.#hub = hub;
    this.#onProgress = onProgress;
  }

  entry(commit: string): CacheEntry {
    return { name: `hub/${this.#hub.id.replace('/', '--')}/${commit}`, keyFiles: ['config.json'] };
  }

  async resolveCommit(): Promise<string> {
    if (COMMIT.test(this.#hub.revision) && (await findCached(this.entry(this.#hub.revision))))
      return this.#hub.revision;
    const pointer = join(
      cacheRoot(),
      'hub',
      this.#hub.id.replace('/', '--'),
      'revisions',
      encodeURIComponent(this.#hub.revision),
    );
    try {
      const { commit } = await this.#hub.describe(this.#hub.revision);
      await mkdir(join(pointer, '..'), { recursive: true });
      await writeFile(`${pointer}.${process.pid}`, commit);
      await rename(`${pointer}.${process.pid}`, pointer);
      return commit;
    } catch (error) {
      const known = (await readFile(pointer, 'utf8').catch(() => '')).trim();
      const unreachable = error instanceof SoftflowError && error.code === 'HUB_UNREACHABLE';
      if (!unreachable || !COMMIT.test(known) || !(await findCached(this.entry(known)))) throw error;
      const message = `The hub does not answer; going on with ${this.#hub.id} at ${known}, which is in the cache.`;
      this.#onProgress({ item: 'model', phase: 'notice', message });
      return known;
    }
  }

  /** Downloads the files of a commit into `target`. */
  async download(commit: string, target: string): Promise<void> {
    const { files } = await this.#hub.describe(commit);
    const parts = join(cacheRoot(), 'tmp', `hub-${this.#hub.id.replace('/', '--')}-${commit}`);
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

  /** Configuration, tokenizer, and either the shards that the index names or the single file; never pickled weights. */
  async #selectFiles(commit: string, files: HubFile[]): Promise<HubFile[]> {
    const byName = new Map(files.map((file) => [file.name, file]));
    const index = byName.get(INDEX);
    const weights = index ? [INDEX, ...(await this.#shards(commit, index))] : ['model.safetensors'];
    const missing = ['config.json', ...weights].filter((name) => !byName.has(name));
    if (missing.length > 0) {
      throw new SoftflowError(
        'HUB_NO_WEIGHTS',
        `The hub model ${this.#hub.id} at ${commit} has no ${missing.join(', ')}: expected config.json and safetensors weights, ` +
          `found ${[...byName.keys()].join(', ') || 'no files'}. Choose a revision with safetensors, or convert the model.`,
        { details: { id: this.#hub.id, commit, missing } },
      );
    }
    return [...SMALL_FILES, ...weights].flatMap((name) => byName.get(name) ?? []);
  }

  async #shards(commit: string, index: HubFile): Promise<string[]> {
    if (index.sizeBytes > MAX_INDEX_BYTES) throw this.#hub.damaged(index, `it has ${index.sizeBytes} bytes`);
    const url = this.#hub.fileUrl(commit, INDEX);
    const text = await this.#hub.retry(async () => (await this.#hub.request(url)).text());
    try {
      const { weight_map: map } = JSON.parse(text) as { weight_map: Record<string, string> };
      return [...new Set(Object.values(map))].sort();
    } catch (error) {
      throw this.#hub.damaged(index, (error as Error).message);
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
    await this.#hub.retry(() => this.#continueFile(commit, file, path, onBytes));
    const received = await digestOf(path, file);
    const expected = file.sha256 ?? file.gitSha1;
    if (expected === undefined || received === expected) return path;
    await rm(path);
    throw this.#hub.damaged(file, `expected digest ${expected}, received ${received}`);
  }

  async #continueFile(commit: string, file: HubFile, path: string, onBytes: (bytes: number) => void): Promise<void> {
    let at = (await stat(path).catch(() => undefined))?.size ?? 0;
    if (at > file.sizeBytes) at = 0;
    const handle = await open(path, at > 0 ? 'r+' : 'w');
    try {
      if (at === file.sizeBytes) return onBytes(at);
      const headers: Record<string, string> = at > 0 ? { range: `bytes=${at}-` } : {};
      const response = await this.#hub.request(this.#hub.fileUrl(commit, file.name), headers);
      if (response.status !== 206) {
        at = 0;
        await handle.truncate(0);
      }
      for await (const chunk of withoutStall(response)) {
        if (at + chunk.length > file.sizeBytes) {
          await handle.truncate(0);
          throw this.#hub.damaged(file, `expected ${file.sizeBytes} bytes, received more`);
        }
        await handle.write(chunk, 0, chunk.length, at);
        at += chunk.length;
        onBytes(at);
      }
      if (at < file.sizeBytes)
        throw this.#hub.unreachable(this.#hub.fileUrl(commit, file.name), `it stopped at byte ${at}`);
    } finally {
      await handle.close();
    }
  }
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
