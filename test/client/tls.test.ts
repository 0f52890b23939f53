import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { configuredTarget, connect } from '../../client/connect.ts';
import { startWorker } from '../../workers/worker.ts';
import { type Certified, certificate } from '../support/certificates.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { STUB_JOBS, startSoft } from '../support/soft-run.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { startTlsProxy, type TlsProxy, type TlsProxyOptions } from '../support/tls-proxy.ts';

const KEY = 'an-api-key';
const folder = mkdtempSync(join(tmpdir(), 'softflow-tls-'));
const authority = certificate('softflow tests');
const stranger = certificate('somebody else');
const client = certificate('client', { issuer: authority });
const good = certificate('server', { issuer: authority, names: ['localhost', '127.0.0.1'] });
let server: TestServer;
const proxies: TlsProxy[] = [];

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(async () => {
  for (const proxy of proxies) await proxy.close();
  await server?.stop();
  rmSync(folder, { recursive: true });
});

const pem = (name: string, text: string) => {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};

/** The environment of somebody who uses a hosted Temporal. */
function environment(port: number, { ca = authority, own = client }: { ca?: Certified; own?: Certified | null } = {}) {
  return {
    TEMPORAL_CONFIG_FILE: '/nonexistent/temporal.toml',
    TEMPORAL_ADDRESS: `localhost:${port}`,
    TEMPORAL_TLS: 'true',
    TEMPORAL_TLS_SERVER_CA_CERT_PATH: pem('ca.pem', ca.cert),
    ...(own
      ? {
          TEMPORAL_TLS_CLIENT_CERT_PATH: pem('client.pem', own.cert),
          TEMPORAL_TLS_CLIENT_KEY_PATH: pem('client.key', own.key),
        }
      : {}),
  };
}

async function proxy(change: Partial<TlsProxyOptions> = {}): Promise<number> {
  const options = { upstream: server.target.address, server: good, clientCa: authority.cert, ...change };
  const started = await startTlsProxy(options);
  proxies.push(started);
  return started.port;
}

const targetOf = (env: Record<string, string>) => configuredTarget(env)!;

describe('A Temporal server behind TLS', () => {
  test('serves a client and a worker that show their certificate and API key, from Temporal’s own variables (S7)', async (context) => {
    const target = targetOf({ ...environment(await proxy({ apiKey: KEY })), TEMPORAL_API_KEY: KEY });
    const over = await connect(target);
    const worker = await startWorker({
      target,
      queues: ['workflow', 'cpu', 'gpu'],
      taskQueue: 'tls',
      storeRoot: join(folder, 'store'),
      jobsModule: STUB_JOBS,
    });
    const run = await startSoft({ ...server, client: over }, 'tls');
    expect(await run.result()).toMatchObject({ phase: 'completed' });
    worker.shutdown();
    await worker.done;
    await over.connection.close();
    faultFigure(context, 1, 'a whole run over mTLS with an API key');
  });

  const REFUSED: [what: string, make: () => Promise<Record<string, string>>, code: string, message: RegExp][] = [
    [
      'of another authority',
      async () => environment(await proxy(), { ca: stranger }),
      'TEMPORAL_TLS_FAILED',
      /not signed by an authority that is trusted here.*SERVER_CA_CERT_PATH/,
    ],
    [
      'for another name',
      async () =>
        environment(await proxy({ server: certificate('x', { issuer: authority, names: ['temporal.example'] }) })),
      'TEMPORAL_TLS_FAILED',
      /for another name/,
    ],
    [
      'that has expired',
      async () =>
        environment(
          await proxy({
            server: certificate('x', { issuer: authority, names: ['localhost'], validFrom: -9, validTo: -2 }),
          }),
        ),
      'TEMPORAL_TLS_FAILED',
      /expired/,
    ],
    [
      'that wants a client certificate and gets none',
      async () => environment(await proxy(), { own: null }),
      'TEMPORAL_TLS_FAILED',
      /client certificate/,
    ],
    [
      'that gets a client certificate of another authority',
      async () => environment(await proxy(), { own: certificate('client', { issuer: stranger }) }),
      'TEMPORAL_TLS_FAILED',
      /client certificate/,
    ],
    [
      'that speaks no TLS',
      async () => environment(Number(server.target.address.split(':')[1])),
      'TEMPORAL_TLS_FAILED',
      /does not speak TLS/,
    ],
    [
      'that gets no API key',
      async () => environment(await proxy({ apiKey: KEY })),
      'TEMPORAL_DENIED',
      /TEMPORAL_API_KEY/,
    ],
    [
      'that gets another API key',
      async () => ({ ...environment(await proxy({ apiKey: KEY })), TEMPORAL_API_KEY: 'another' }),
      'TEMPORAL_DENIED',
      /TEMPORAL_API_KEY/,
    ],
  ];
  test.each(REFUSED)(
    '%s is refused with the reason, by client and worker alike (S7)',
    async (_, make, code, message) => {
      const target = targetOf(await make());
      const refusal = expect.objectContaining({ code, message: expect.stringMatching(message), retryable: false });
      await expect(connect(target, '2 seconds')).rejects.toEqual(refusal);
      const worker = startWorker({ target, queues: ['workflow'], taskQueue: 'none', storeRoot: join(folder, 'store') });
      await expect(worker).rejects.toEqual(refusal);
      await expect(connect(target, '2 seconds')).rejects.not.toMatchObject({ message: expect.stringContaining(KEY) });
    },
  );

  test('at another place than this machine is not spoken to in clear (S7)', () => {
    const env = { TEMPORAL_CONFIG_FILE: '/nonexistent/temporal.toml', TEMPORAL_ADDRESS: 'temporal.example:7233' };
    expect(() => configuredTarget(env)).toThrowError(expect.objectContaining({ code: 'TEMPORAL_INSECURE' }));
    expect(() => configuredTarget({ ...env, TEMPORAL_TLS: 'false', TEMPORAL_API_KEY: KEY })).toThrowError(
      expect.objectContaining({ code: 'TEMPORAL_INSECURE' }),
    );
    expect(configuredTarget({ ...env, SOFTFLOW_INSECURE: '1' })).toMatchObject({ address: 'temporal.example:7233' });
  });
});
