import { defaultPayloadConverter } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_BODY_BYTES, type RunningCodecServer, startCodecServer } from '../../encryption/codec-server.ts';
import { EncryptionCodec } from '../../encryption/payload-codec.ts';

const codec = new EncryptionCodec([{ id: 'one', bytes: Buffer.alloc(32, 1) }]);
const UI = 'http://127.0.0.1:8233';
const TOKEN = 'a-token';
const asked = { authorization: `Bearer ${TOKEN}` };
let server: RunningCodecServer;

beforeAll(async () => {
  server = await startCodecServer({ codec, port: 0, origins: [UI], token: TOKEN });
});
afterAll(() => server.close());

const post = (path: string, body: unknown, headers: Record<string, string> = asked) =>
  fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-namespace': 'default', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
const json = (value: unknown) => {
  const { metadata, data } = defaultPayloadConverter.toPayload(value);
  const base64 = (bytes: Uint8Array | null | undefined) => Buffer.from(bytes ?? []).toString('base64');
  return { metadata: { encoding: base64(metadata?.['encoding']) }, data: base64(data) };
};

describe('the codec server', () => {
  it('encodes and decodes payloads in the form of Temporal’s UI and CLI (S6)', async () => {
    const payloads = [json({ title: 'Dr. No' }), json(null)];
    const encoded = (await (await post('/encode', { payloads })).json()) as { payloads: typeof payloads };
    expect(Buffer.from(encoded.payloads[0]!.metadata.encoding, 'base64').toString()).toBe('binary/encrypted');
    expect(JSON.stringify(encoded)).not.toContain(payloads[0]!.data);
    const decoded = await post('/decode', encoded);
    expect(decoded.headers.get('cache-control')).toBe('no-store');
    expect(await decoded.json()).toEqual({ payloads });
  });

  it('asks for its token', async () => {
    for (const authorization of ['', 'Bearer wrong', TOKEN, `bearer ${TOKEN}`])
      expect((await post('/decode', { payloads: [] }, { authorization })).status).toBe(401);
  });

  it('answers pages of the listed origins alone', async () => {
    const preflight = (origin: string) => fetch(`${server.url}/decode`, { method: 'OPTIONS', headers: { origin } });
    const allowed = await preflight(UI);
    expect([allowed.status, allowed.headers.get('access-control-allow-origin')]).toEqual([204, UI]);
    expect(allowed.headers.get('access-control-allow-headers')).toContain('authorization');
    for (const origin of ['http://127.0.0.1:8234', 'https://evil.example', 'null', `${UI}.evil.example`]) {
      const refused = await preflight(origin);
      expect([origin, refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([origin, 403, null]);
      expect((await post('/decode', { payloads: [] }, { ...asked, origin })).status).toBe(403);
    }
  });

  it('refuses what it does not serve, and never fails over a body', async () => {
    expect((await post('/', {})).status).toBe(404);
    expect((await fetch(`${server.url}/decode`)).status).toBe(405);
    for (const body of [
      '',
      '{',
      '[]',
      '{"payloads":{}}',
      '{"payloads":[{"data":"%%%"}]}',
      '{"payloads":[{"metadata":[]}]}',
    ])
      expect([body, (await post('/decode', body)).status]).toEqual([body, 400]);
    const foreign = {
      metadata: { encoding: btoa('binary/encrypted'), 'encryption-key-id': btoa('two') },
      data: btoa('x'),
    };
    const unknown = await post('/decode', { payloads: [foreign] });
    expect(unknown.status).toBe(400);
    expect(await unknown.json()).toEqual({ message: expect.stringContaining('"two"') });
    const large = await post('/decode', 'x'.repeat(MAX_BODY_BYTES + 1)).catch(() => ({ status: 413 }));
    expect(large.status).toBe(413);
    expect((await post('/decode', { payloads: [] })).status).toBe(200);
  });

  it('says where it cannot listen', async () => {
    const port = Number(new URL(server.url).port);
    await expect(startCodecServer({ codec, port })).rejects.toMatchObject({ code: 'CODEC_CANNOT_LISTEN' });
  });
});
