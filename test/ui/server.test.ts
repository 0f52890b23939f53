import { request } from 'node:http';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { SoftflowError } from '../../errors.ts';
import { allowedHosts } from '../../ui/hosts.ts';
import { type RunningUi, startUi } from '../../ui/server.ts';
import type { UiSource } from '../../ui/source.ts';
import { until } from '../support/until.ts';
import { fakeSource, LIVE, liveLook } from './fixtures.ts';

let ui: RunningUi;
afterEach(() => ui?.close());

const serve = async (change: Partial<UiSource> = {}) => {
  ui = await startUi(fakeSource(change), { port: 0, pollMs: 10 });
};
const get = (path: string, init?: RequestInit) => fetch(new URL(path, ui.url), init);

/** The status of a request whose Host header is chosen freely, which fetch does not allow. */
function statusFor(host: string, method = 'GET'): Promise<number | undefined> {
  const { hostname, port } = new URL(ui.url);
  return new Promise((resolve, reject) => {
    const sent = request({ hostname, port, method, headers: { host } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    sent.on('error', reject).end();
  });
}

describe('the page server', () => {
  it('answers under names of this machine alone, so that no other site reads it (DNS rebinding)', async () => {
    await serve();
    const { port } = new URL(ui.url);
    expect(ui.url).toBe(`http://127.0.0.1:${port}/`);
    for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, `LOCALHOST:${port}`, `[::1]:${port}`])
      expect(await statusFor(host), host).toBe(200);
    for (const host of ['127.0.0.1', `127.0.0.1:${Number(port) + 1}`, `evil.example:${port}`, `localhost.evil:${port}`])
      expect(await statusFor(host), host).toBe(421);
  });

  it('takes the name of the address that it was told to listen on', () => {
    expect(allowedHosts('192.168.1.20', 80)).toContain('192.168.1.20');
    expect(allowedHosts('fe80::1', 8470)).toContain('[fe80::1]:8470');
    expect(allowedHosts('0.0.0.0', 8470).size).toBeGreaterThan(3);
    expect(allowedHosts('127.0.0.1', 8470)).not.toContain('0.0.0.0:8470');
  });

  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('refuses %s: it is read only', async (method) => {
    await serve();
    const { host } = new URL(ui.url);
    expect(await statusFor(host, method)).toBe(405);
  });

  it('sends a strict policy with every page, and a report may run nothing', async () => {
    await serve();
    for (const path of [
      '/',
      `/runs/${LIVE}`,
      '/sweeps',
      '/compare',
      '/schedules',
      '/releases',
      '/nothing',
      '/live.js',
    ]) {
      const { headers } = await get(path);
      expect(headers.get('content-security-policy'), path).toMatch(
        /^default-src 'none'; style-src 'self'; script-src 'self'/,
      );
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('access-control-allow-origin')).toBeNull();
    }
    const report = await get('/runs/demo-00000001/report');
    expect(report.headers.get('content-security-policy')).toMatch(
      /^default-src 'none'; style-src 'unsafe-inline'; base/,
    );
    expect(await report.text()).toContain('<h1>demo</h1>');
  });

  it('has no inline script or style that such a policy would stop', async () => {
    await serve();
    for (const path of ['/', `/runs/${LIVE}`, '/runs/demo-00000001', '/sweeps', '/compare', '/schedules', '/releases'])
      expect(await (await get(path)).text()).not.toMatch(/<script>|<style| style="| on[a-z]+="|https?:/);
  });

  it.each([
    '/nothing',
    '/runs/unknown',
    '/runs/..%2f..%2fetc%2fpasswd',
    '/runs/__proto__',
    `/runs/${LIVE}/report/x`,
    `/runs/${LIVE}/metrics.json`,
    '/events/x',
  ])('finds nothing at %s', async (path) => {
    await serve();
    expect((await get(path)).status).toBe(404);
  });

  it('answers a broken address with 400 and a long one with an error, and goes on', async () => {
    await serve();
    expect((await get('/runs/%E0%A4%A')).status).toBe(400);
    expect((await get(`/${'x'.repeat(20_000)}`)).status).toBe(431);
    expect((await get('/')).status).toBe(200);
  });

  it('escapes what runs, schedules and releases are called', async () => {
    const evil = '<img src=x onerror=alert(1)>';
    const look = liveLook(8);
    const [schedule] = (await fakeSource().schedules())!;
    await serve({
      list: async () => [evil],
      look: async () => ({
        ...look,
        notice: evil,
        status: { ...look.status, runId: evil, error: { code: 'X', message: evil, retryable: false } },
        progress: [{ ...look.progress[0]!, position: evil, unit: evil }],
      }),
      schedules: async () => [{ ...schedule!, name: evil, note: evil, times: [evil] }],
    });
    for (const path of [
      '/',
      `/runs/${encodeURIComponent(evil)}`,
      '/sweeps',
      '/schedules',
      '/releases',
      `/compare?first=${evil}&second=${evil}`,
    ]) {
      const text = await (await get(path)).text();
      expect(text, path).not.toMatch(/<img|<b>gain|<i>films/);
    }
    expect(await (await get('/releases')).text()).toContain('&lt;b&gt;gain');
  });

  it('says what went wrong without a stack, with the code of what is known', async () => {
    await serve({
      releases: async () => {
        throw new SoftflowError('RELEASE_DAMAGED', 'Number 3 of current is damaged.');
      },
      schedules: async () => {
        throw new TypeError('cannot read');
      },
    });
    const known = await get('/releases');
    expect(known.status).toBe(409);
    expect(await known.text()).toMatch(/RELEASE_DAMAGED[\s\S]*Number 3 of current is damaged\./);
    const unknown = await get('/schedules');
    expect(unknown.status).toBe(500);
    expect(await unknown.text()).not.toContain('routes.ts');
    expect((await get(`/runs/${LIVE}/report`)).status).toBe(409);
  });

  it('sends the live part again whenever it has changed, and only then', async () => {
    let done = 8;
    let looks = 0;
    await serve({
      look: async () => {
        looks++;
        return liveLook(done);
      },
    });
    const response = await get(`/runs/${LIVE}/events`);
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    const next = async () =>
      JSON.parse((await reader.read()).value!.replace(/^data: /, '')) as { html: string; said: string };
    expect(await next()).toMatchObject({
      html: expect.stringContaining('value="8"'),
      said: 'Running: SFT epoch 2: train',
    });
    await until(() => looks >= 5);
    done = 16;
    expect((await next()).html).toContain('value="16"');
    await reader.cancel();
  });

  it('goes on when a reader leaves before the answer', async () => {
    let answer = () => {};
    let asked = 0;
    await serve({
      look: () => {
        asked++;
        return new Promise((resolve) => {
          answer = () => resolve(liveLook(8));
        });
      },
    });
    for (const path of [`/runs/${LIVE}`, `/runs/${LIVE}/events`]) {
      const before = asked;
      const leaving = new AbortController();
      const request = get(path, { signal: leaving.signal }).catch(() => {});
      await until(() => asked > before);
      leaving.abort();
      await request;
      // The server learns of it from its socket, in a turn of its own.
      await (await get('/style.css')).text();
      answer();
    }
    expect((await get('/schedules')).status).toBe(200);
  });

  it('lets a limited number of pages follow', async () => {
    await serve();
    const { port, host } = new URL(ui.url);
    const followers = Array.from({ length: 64 }, () => connect(Number(port), '127.0.0.1'));
    for (const socket of followers) {
      socket.on('error', () => {});
      socket.write(`GET /events HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      await new Promise((resolve) => socket.once('data', resolve));
    }
    expect((await get('/events')).status).toBe(503);
    expect((await get('/')).status).toBe(200);
    for (const socket of followers) socket.destroy();
  });

  it('says why it cannot listen, and what to do', async () => {
    await serve();
    const { port } = new URL(ui.url);
    await expect(startUi(fakeSource(), { port: Number(port) })).rejects.toThrow(
      expect.objectContaining({ code: 'UI_CANNOT_LISTEN', message: expect.stringContaining('softflow ui --port 0') }),
    );
    await expect(startUi(fakeSource(), { port: 0, address: '192.0.2.1' })).rejects.toThrow(
      /EADDRNOTAVAIL.*without --host/,
    );
  });
});

describe('the pages', () => {
  const textOf = async (path: string) => (await (await get(path)).text()).replace(/<[^>]+>/g, ' ').replace(/\s+/g, ' ');

  it('list runs with where they are', async () => {
    await serve();
    const text = await textOf('/');
    expect(text).toMatch(
      /nightly-00000003 running SFT epoch 2: train, 31 % 1\.53 .* 1 min 40 s demo-00000002 completed/,
    );
    await serve({ list: async () => [] });
    expect(await textOf('/')).toMatch(/No runs yet\. Next: softflow demo ?, or softflow init/);
  });

  it('show of a run its stages, its epochs, and trouble', async () => {
    await serve({ look: async () => ({ ...liveLook(40), notice: 'trainEpoch waits for a worker.' }) });
    const text = await textOf(`/runs/${LIVE}`);
    expect(text).toMatch(
      /prepare done reused from an earlier run encode done sft running SFT epoch 2: train, epoch 2, micro-batch 5\/16/,
    );
    expect(text).toContain('31 % · 1.25 samples/s · 1 min 10 s left · loss 1.53 · 312 tokens/s · mfu 0.72');
    expect(text).toContain('self-distil waits');
    expect(text).toContain('trainEpoch waits for a worker.');
    expect(text).toMatch(/SFT epoch 1 2 \.0100 25 %/);
    expect(text).not.toContain('Test results');
  });

  it('compare two completed runs, or say why not', async () => {
    await serve();
    expect(await textOf('/compare')).toContain('Run A demo-00000002 demo-00000001');
    const text = await textOf('/compare?first=demo-00000001&second=demo-00000002');
    expect(text).toContain('soft.curriculumAlpha 1 10');
    expect(text).toMatch(/SOFT HR@10 \.0313 \.0313 \.000 \.000 to \.000 0 \/ 0 within noise/);
    expect(await textOf(`/compare?first=${LIVE}&second=demo-00000002`)).toContain(
      `There is no completed run "${LIVE}"`.replaceAll('"', '&quot;'),
    );
  });

  it('show the ranking of each sweep, best first, with why a run has ended and what another does', async () => {
    await serve();
    const text = await textOf('/sweeps');
    expect(text).toMatch(/demo-sweep-0000aaaa running ?, 1 min 15 s\. The worse half ends after round 2, 4\./);
    expect(text).toMatch(/1 demo-sweep-0000aaaa-2 soft\.curriculumAlpha=2 .* running 3 0\.25 SFT epoch 2: train/);
    expect(text).toMatch(/2 demo-sweep-0000aaaa-1 .* stopped 2 0\.1 not in the better half after round 2/);
    await ui.close();
    await serve({ sweeps: async () => [] });
    expect(await textOf('/sweeps')).toContain('No sweeps yet.');
  });

  it('show schedules, every move of current and every decision', async () => {
    await serve();
    expect(await textOf('/schedules')).toMatch(/nightly 0 3 \* \* \* Europe\/Berlin active 2026-11-26T02:00/);
    const releases = await textOf('/releases');
    expect(releases).toMatch(/kept nightly-00000003 bbbbbbbbbbbb retrain nightly .* within noise/);
    expect(releases).toMatch(
      /within noise all of them gain 0\.012 promote 2 current demo-00000002 bbbbbbbbbbbb .* promote 1 demo/,
    );
    await serve({ schedules: async () => undefined, releases: async () => [] });
    expect(await textOf('/schedules')).toContain('No Temporal server answers');
    expect(await textOf('/releases')).toContain('Nothing was promoted yet');
  });
});
