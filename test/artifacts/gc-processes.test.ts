import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { collectGarbage } from '../../artifacts/gc.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { FULL, seededRandom, temporaryFolder } from './fixtures.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const BLOBS = 20;
const WRITERS = [1, 2, 3, 4];
/** Of each seed; the full level has twenty. */
const ROUNDS = FULL ? 10 : 2;
/** A collection changes at least so much: two operations for each blob that nobody uses. */
const SURE_CHANGES = 2 * BLOBS;

beforeAll(async () => {
  const build = (await import(new URL('../../bin/build.mjs', import.meta.url).href)) as { buildIfStale(): boolean };
  build.buildIfStale();
});

/** A process that says when it is ready, and its lines from then on. */
async function start(...parts: (string | number)[]): Promise<{ child: ChildProcess; lines: AsyncIterator<string> }> {
  const script = fileURLToPath(new URL('gc-child.mjs', import.meta.url));
  const child = spawn(process.execPath, [script, ...parts.map(String)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  expect((await lines.next()).value).toBe('ready');
  return { child, lines };
}

/** Garbage of three days ago, which writers are about to use again. */
async function oldStore(): Promise<Store> {
  const store = await openStore(join(await temporaryFolder(), 'store'), { create: true });
  const then = new Date(Date.now() - 3 * DAY_MS);
  for (let i = 0; i < 2 * BLOBS; i++) {
    const { uri } = await store.putBytes(Buffer.from(i < BLOBS ? `old ${i}` : `garbage ${i}`));
    await utimes(join(store.root, uri), then, then);
  }
  // Something that is in use, or a collection refuses to begin.
  const titles = await store.putBytes(Buffer.from('live'));
  const key = 'd'.repeat(64);
  const step = { version: 1, step: 'encodeTitles', contractVersion: 1, key, inputs: {}, params: null } as const;
  await store.writeManifest(key, { ...step, outputs: { titles }, result: null, fingerprint: {} });
  return store;
}

test('Writers in four processes beside two collections that are killed anywhere lose nothing, and the garbage goes in two more. (R10)', async (context) => {
  const random = seededRandom(Number(process.env['SOFTFLOW_FAULT_SEED'] ?? 1));
  let killed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const store = await oldStore();
    const writers = await Promise.all(WRITERS.map((writer) => start('write', store.root, writer, BLOBS)));
    const collections = await Promise.all(
      [SURE_CHANGES, 8 * BLOBS].map((limit) => start('collect', store.root, 1 + random(limit))),
    );
    const ends = [...writers, ...collections].map(({ child }) => once(child, 'exit'));
    for (const { child } of [...collections, ...writers]) child.stdin!.write('go\n');
    const keys = await Promise.all(
      writers.map(async ({ lines }) => JSON.parse((await lines.next()).value) as string[]),
    );
    const exits = await Promise.all(ends);
    expect(exits.slice(0, WRITERS.length).map(([code]) => code)).toEqual([0, 0, 0, 0]);
    killed += exits.filter(([, signal]) => signal === 'SIGKILL').length;

    for (const days of [0, 1.1, 2.2]) await collectGarbage(store, { now: () => Date.now() + days * DAY_MS });
    const live = new Set<string>();
    for (const key of [...keys.flat(), 'd'.repeat(64)]) {
      const titles = (await store.readManifest(key))?.outputs['titles'];
      if (!titles) throw new Error(`round ${round}: ${key} lost its output`);
      await store.getBytes(titles);
      live.add(titles.sha256);
    }
    expect(live.size).toBe(BLOBS + 1);
    expect(await store.folder.list('blobs')).toEqual([...live].sort());
    expect(await store.folder.list('trash')).toEqual([]);
  }
  expect(killed).toBeGreaterThanOrEqual(ROUNDS);
  faultFigure(context, ROUNDS, `real processes: 4 writers, 2 collections, ${killed} of them killed`);
}, 3_600_000);
