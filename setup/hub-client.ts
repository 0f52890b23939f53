import { setTimeout as sleep } from 'node:timers/promises';
import { SoftflowError } from '../errors.ts';
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

export interface HubFile {
  name: string;
  sizeBytes: number;
  /** Of files in large-file storage. */
  sha256?: string;
  /** Git's blob hash, of the others. */
  gitSha1?: string;
}

export const COMMIT = /^[0-9a-f]{40}$/;
const ATTEMPTS = 4;
const STALL_MS = 60_000;

/** Requests about one model at one revision: the token where it may go, repeats, and errors that say what to do. */
export class HubClient {
  readonly id: string;
  readonly revision: string;
  readonly #endpoint: string;
  readonly #token: string | undefined;
  readonly #tokenName: string;
  readonly #retryDelayMs: number;

  constructor(model: HubModel, options: HubOptions) {
    this.id = model.id;
    this.revision = model.revision ?? 'main';
    if (
      !/^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/.test(this.id) ||
      !/^[\w-][\w./-]*$/.test(this.revision) ||
      /\.\./.test(this.id + this.revision)
    ) {
      throw new SoftflowError(
        'HUB_ID_INVALID',
        `Not a hub model: expected an id like "HuggingFaceTB/SmolLM2-135M" and a branch, tag or commit, received ` +
          `${JSON.stringify(this.id)} at ${JSON.stringify(this.revision)}.`,
        { details: { id: this.id, revision: this.revision } },
      );
    }
    this.#endpoint = checkedEndpoint(options.endpoint ?? (process.env['HF_ENDPOINT'] || 'https://huggingface.co'));
    this.#token = options.token ?? process.env['HF_TOKEN'];
    this.#tokenName = options.tokenName ?? 'HF_TOKEN';
    this.#retryDelayMs = options.retryDelayMs ?? 1000;
  }

  /** The commit of the revision, and its files. */
  async describe(revision: string): Promise<{ commit: string; files: HubFile[] }> {
    const url = `${this.#endpoint}/api/models/${this.id}/revision/${encodeURIComponent(revision)}?blobs=true`;
    const body = await this.retry(async () => (await this.request(url)).json() as Promise<ModelDescription>);
    if (typeof body.sha !== 'string' || !COMMIT.test(body.sha))
      throw this.unreachable(url, 'the answer names no commit');
    const files = (body.siblings ?? []).flatMap(({ rfilename, size, blobId, lfs }) => {
      const sizeBytes = lfs?.size ?? size;
      if (!/^[\w-][\w.-]*$/.test(rfilename) || !Number.isSafeInteger(sizeBytes)) return [];
      return [
        { name: rfilename, sizeBytes: sizeBytes as number, sha256: lfs?.sha256, gitSha1: lfs ? undefined : blobId },
      ];
    });
    return { commit: body.sha, files };
  }

  fileUrl(commit: string, name: string): string {
    return `${this.#endpoint}/${this.id}/resolve/${commit}/${name}`;
  }

  async request(url: string, headers: Record<string, string> = {}): Promise<Response> {
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
      throw this.unreachable(url, causeOf(error));
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

  async retry<T>(attempt: () => Promise<T>): Promise<T> {
    for (let left = ATTEMPTS - 1; ; left--) {
      try {
        return await attempt();
      } catch (error) {
        if (['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
        const failure = error instanceof SoftflowError ? error : this.unreachable(this.#endpoint, causeOf(error));
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
        `The hub refused ${this.id} (HTTP ${status}); ${token}. Accept the model's licence on its page if it has one, and ` +
          `set ${this.#tokenName} to a token that may read it.`,
        { details },
      );
    }
    if (status === 404) {
      return new SoftflowError(
        'HUB_NOT_FOUND',
        `The hub has no ${publicUrl(url)} (HTTP 404). Check the id "${this.id}" and the revision "${this.revision}".`,
        { details },
      );
    }
    return this.unreachable(url, `HTTP ${status}`);
  }

  unreachable(url: string, why: string): SoftflowError {
    return new SoftflowError(
      'HUB_UNREACHABLE',
      `The hub did not deliver ${publicUrl(url)}: ${why}. Check the network, or set HF_ENDPOINT to a mirror, or give the ` +
        'model as a folder.',
      { retryable: true, details: { url: publicUrl(url) } },
    );
  }

  damaged(file: HubFile, why: string): SoftflowError {
    return new SoftflowError(
      'HUB_FILE_DAMAGED',
      `The file ${file.name} of ${this.id} is not what the hub describes: ${why}. It was not used. Run the command again.`,
      { retryable: true, details: { id: this.id, file: file.name } },
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

/** The bytes of an answer. @throws Error when nothing comes for a minute */
export async function* withoutStall(response: Response): AsyncGenerator<Uint8Array> {
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
