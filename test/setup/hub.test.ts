import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ensureHubModel } from '../../setup/hub.ts';
import type { HubOptions } from '../../setup/hub-client.ts';
import type { SetupProgress } from '../../setup/progress.ts';
import { useTemporaryCache } from './temporary-cache.ts';

const COMMIT = 'a'.repeat(40);
const TOKEN = 'hf_secret_token_value';
const ID = 'org/tiny';

type Interceptor = (request: IncomingMessage, response: ServerResponse, name: string) => boolean;

/** A loopback server with the part of the hub's API that the client uses. */
class FakeHub {
  files: Record<string, Buffer> = {
    'config.json': Buffer.from('{"model_type":"llama"}'),
    'tokenizer.json': Buffer.from('{}'),
    'model.safetensors': Buffer.alloc(100_000, 'weights'),
    'pytorch_model.bin': Buffer.from('pickle'),
  };
  /** What the description says, when it should differ from the files. */
  described: Record<string, { size?: number; sha256?: string; blobId?: string }> = {};
  requests: { path: string; range?: string; authorization?: string }[] = [];
  intercept: Interceptor = () => false;
  readonly server: Server = createServer((request, response) => this.#answer(request, response));

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? '';
    const { range, authorization } = request.headers;
    this.requests.push({ path, range, authorization });
    const name = path.split('/').at(-1) ?? '';
    if (this.intercept(request, response, name)) return;
    if (path.startsWith(`/api/models/${ID}/revision/`)) response.end(JSON.stringify(this.#describe()));
    else if (path.startsWith(`/${ID}/resolve/${COMMIT}/`)) this.send(response, name, range);
    else response.writeHead(404).end();
  }

  send(response: ServerResponse, name: string, range?: string): void {
    const content = this.files[name];
    if (!content) response.writeHead(404).end();
    else if (range) response.writeHead(206).end(content.subarray(Number(/bytes=(\d+)-/.exec(range)?.[1])));
    else response.end(content);
  }

  #describe(): unknown {
    const siblings = Object.entries(this.files).map(([rfilename, content]) => {
      const described = this.described[rfilename] ?? {};
      const size = described.size ?? content.length;
      if (!rfilename.endsWith('.safetensors')) return { rfilename, size, blobId: described.blobId ?? gitSha1(content) };
      return {
        rfilename,
        lfs: { size, sha256: described.sha256 ?? createHash('sha256').update(content).digest('hex') },
      };
    });
    return { sha: COMMIT, siblings };
  }
}

function gitSha1(content: Buffer): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}

describe('a model from the hub', () => {
  const root = useTemporaryCache();
  let hub: FakeHub;
  let seen: SetupProgress[];

  beforeEach(async () => {
    vi.stubEnv('HF_TOKEN', '');
    hub = new FakeHub();
    seen = [];
    await once(hub.server.listen(0, '127.0.0.1'), 'listening');
  });
  afterEach(() => {
    hub.server.closeAllConnections();
    hub.server.close();
  });

  function download(options: HubOptions = {}, revision?: string) {
    const onProgress = (progress: SetupProgress) => seen.push(progress);
    return ensureHubModel({ id: ID, revision }, { endpoint: hub.endpoint, retryDelayMs: 1, onProgress, ...options });
  }

  it('fetches configuration, tokenizer and safetensors, but never pickled weights', async () => {
    const { folder, commit } = await download();
    expect(commit).toBe(COMMIT);
    expect(readdirSync(folder).sort()).toEqual([
      'config.json',
      'model.safetensors',
      'softflow-entry.json',
      'tokenizer.json',
    ]);
    expect(readFileSync(join(folder, 'model.safetensors')).equals(hub.files['model.safetensors'] as Buffer)).toBe(true);
    expect(readdirSync(join(root(), 'tmp'))).toEqual([]);
  });

  it('fetches the shards that the index names, and only those', async () => {
    const map = { a: 'model-1.safetensors', b: 'model-2.safetensors', c: 'model-1.safetensors' };
    hub.files['model.safetensors.index.json'] = Buffer.from(JSON.stringify({ weight_map: map }));
    hub.files['model-1.safetensors'] = Buffer.from('one');
    hub.files['model-2.safetensors'] = Buffer.from('two');
    const { folder } = await download();
    const names = readdirSync(folder).filter((name) => name.includes('safetensors'));
    expect(names.sort()).toEqual(['model-1.safetensors', 'model-2.safetensors', 'model.safetensors.index.json']);
  });

  it('needs no network for a commit that is in the cache', async () => {
    await download({}, COMMIT);
    const before = hub.requests.length;
    await download({}, COMMIT);
    expect(hub.requests.length).toBe(before);
  });

  it('goes on with the cached commit of a branch, and says so, while the hub does not answer', async () => {
    await download();
    hub.intercept = (_request, response) => Boolean(response.writeHead(503).end());
    expect((await download()).commit).toBe(COMMIT);
    expect(seen.some(({ phase, message }) => phase === 'notice' && message?.includes('in the cache'))).toBe(true);
  });

  it('goes on where a broken connection stopped', async () => {
    let broken = 0;
    hub.intercept = (request, response, name) => {
      if (name !== 'model.safetensors' || broken > 0 || request.headers.range) return false;
      broken++;
      const content = hub.files[name] as Buffer;
      response.writeHead(200, { 'content-length': content.length });
      response.write(content.subarray(0, 40_000), () => setTimeout(() => response.destroy(), 50));
      return true;
    };
    const { folder } = await download();
    const ranges = hub.requests.flatMap(({ range }) => range ?? []);
    expect(ranges).toHaveLength(1);
    expect(Number(/\d+/.exec(ranges[0] ?? '')?.[0])).toBeGreaterThan(0);
    expect(readFileSync(join(folder, 'model.safetensors')).equals(hub.files['model.safetensors'] as Buffer)).toBe(true);
  });

  it('goes on with what a killed process had fetched', async () => {
    const whole = hub.files['model.safetensors'] as Buffer;
    hub.intercept = (_request, response, name) =>
      name === 'model.safetensors' && Boolean(response.writeHead(500).end());
    await expect(download()).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' });
    const parts = join(root(), 'tmp', `hub-org--tiny-${COMMIT}`);
    const pidOfNobody = 2 ** 22 + 1;
    writeFileSync(join(parts, `model.safetensors.${pidOfNobody}.part`), whole.subarray(0, 12_345));
    hub.intercept = () => false;
    const { folder } = await download();
    expect(hub.requests.flatMap(({ range }) => range ?? [])).toEqual(['bytes=12345-']);
    expect(readFileSync(join(folder, 'model.safetensors')).equals(whole)).toBe(true);
  });

  it('starts over when the server does not know ranges', async () => {
    const whole = hub.files['model.safetensors'] as Buffer;
    let first = true;
    hub.intercept = (request, response, name) => {
      if (name !== 'model.safetensors') return false;
      if (!first) {
        expect(request.headers.range).toBeDefined();
        hub.send(response, name);
        return true;
      }
      first = false;
      response.writeHead(200, { 'content-length': whole.length });
      response.write(whole.subarray(0, 50_000), () => setTimeout(() => response.destroy(), 50));
      return true;
    };
    const { folder } = await download();
    expect(readFileSync(join(folder, 'model.safetensors')).equals(whole)).toBe(true);
  });

  it.each([
    ['another digest', 'model.safetensors', { sha256: '0'.repeat(64) }],
    ['another git hash', 'config.json', { blobId: '0'.repeat(40) }],
    ['more bytes than described', 'model.safetensors', { size: 99_999 }],
  ])('refuses a file with %s and keeps nothing of the model', async (_case, name, described) => {
    hub.described[name] = described;
    await expect(download()).rejects.toMatchObject({ code: 'HUB_FILE_DAMAGED', details: { file: name } });
    expect(existsSync(join(root(), 'hub', 'org--tiny', COMMIT))).toBe(false);
  });

  it('refuses a file with fewer bytes than described', async () => {
    hub.described['model.safetensors'] = { size: 100_001 };
    await expect(download()).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' });
    expect(existsSync(join(root(), 'hub', 'org--tiny', COMMIT))).toBe(false);
  });

  it('repeats a request that failed for a moment', async () => {
    let failures = 2;
    hub.intercept = (_request, response) => failures-- > 0 && Boolean(response.writeHead(503).end());
    expect((await download()).commit).toBe(COMMIT);
  });

  it('sends the token to the hub, loses it on a redirect elsewhere, and never shows it', async () => {
    const storage = new FakeHub();
    await once(storage.server.listen(0, '127.0.0.1'), 'listening');
    hub.intercept = (_request, response, name) => {
      if (name !== 'model.safetensors') return false;
      return Boolean(
        response.writeHead(302, { location: `${storage.endpoint}/${ID}/resolve/${COMMIT}/${name}` }).end(),
      );
    };
    const { folder } = await download({ token: TOKEN });
    storage.server.close();
    expect(hub.requests.every(({ authorization }) => authorization === `Bearer ${TOKEN}`)).toBe(true);
    expect(storage.requests.map(({ authorization }) => authorization)).toEqual([undefined]);
    const texts = [...readdirSync(folder), ...readdirSync(root(), { recursive: true }), JSON.stringify(seen)].join(
      '\n',
    );
    expect(texts).not.toContain(TOKEN);
  });

  it('names the way out when the hub refuses, without the token', async () => {
    hub.intercept = (_request, response) => Boolean(response.writeHead(403).end());
    const error = await download({ token: TOKEN }).catch((caught: Error) => caught);
    expect(error).toMatchObject({ code: 'HUB_ACCESS', message: expect.stringContaining('HF_TOKEN') });
    expect(JSON.stringify([error, String(error)])).not.toContain(TOKEN);
    await expect(download({ token: TOKEN, tokenName: 'MY_TOKEN' })).rejects.toMatchObject({
      code: 'HUB_ACCESS',
      message: expect.stringMatching(/^(?!.*HF_TOKEN).*MY_TOKEN has no access.*set MY_TOKEN/),
    });
  });

  it('does not send the token over plain http to another machine', async () => {
    const refused = ensureHubModel({ id: ID }, { endpoint: 'http://user:pass@example.invalid', token: TOKEN });
    await expect(refused).rejects.toMatchObject({ code: 'HUB_ENDPOINT_INVALID' });
    const sent: (string | null)[] = [];
    vi.stubGlobal('fetch', async (_url: string, init: RequestInit) => {
      sent.push(new Headers(init.headers).get('authorization'));
      return new Response(null, { status: 404 });
    });
    await expect(download({ endpoint: 'http://mirror.invalid', token: TOKEN })).rejects.toMatchObject({
      code: 'HUB_NOT_FOUND',
    });
    vi.unstubAllGlobals();
    expect(sent).toEqual([null]);
  });

  it('names the id and revision that the hub does not have', async () => {
    hub.intercept = (_request, response) => Boolean(response.writeHead(404).end());
    await expect(download({}, 'no-such-branch')).rejects.toMatchObject({
      code: 'HUB_NOT_FOUND',
      message: expect.stringContaining('no-such-branch'),
    });
  });

  it('names what is missing when a model has no safetensors', async () => {
    delete hub.files['model.safetensors'];
    await expect(download()).rejects.toMatchObject({
      code: 'HUB_NO_WEIGHTS',
      message: expect.stringContaining('model.safetensors'),
    });
  });

  it.each(['../../etc', 'a/b/c', '', 'org/..', 'org/name?x'])('refuses the id %j', async (id) => {
    const refused = ensureHubModel({ id }, { endpoint: hub.endpoint });
    await expect(refused).rejects.toMatchObject({ code: 'HUB_ID_INVALID' });
    expect(hub.requests).toEqual([]);
  });
});
