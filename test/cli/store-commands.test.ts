import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';
import { releasesFolder } from '../../artifacts/release-view.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import type { Finding } from '../../artifacts/verify.ts';
import { findingsExitCode } from '../../cli/exit-codes.ts';
import { runCli } from '../../cli/program.ts';
import { openTerminal } from '../../cli/terminal.ts';
import { readReleasedRun } from '../../client/run-results.ts';
import { encodeDistilled, encodeTable, encodeWindows } from '../../datasets/tables.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';
import { manifestOf } from '../artifacts/fixtures.ts';

let folder: string;
let root: string;
let store: Store;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-store-command-'));
  root = join(folder, 'store');
  store = await openStore(root, { create: true });
});
afterEach(() => rm(folder, { recursive: true }));

async function softflow(...args: string[]) {
  let [out, err] = ['', ''];
  const stream = (write: (text: string) => void) => ({ write });
  const terminal = openTerminal({
    stdout: stream((text) => {
      out += text;
    }),
    stderr: stream((text) => {
      err += text;
    }),
  });
  const code = await runCli(['store', ...args, '--store', root], terminal);
  return { code, out, err, json: () => JSON.parse(out) as Record<string, unknown> };
}

const KEYS = { prepare: 'a'.repeat(64), distil: 'b'.repeat(64), train: 'c'.repeat(64), release: 'd'.repeat(64) };

function window(userId: string, targetIndex: number) {
  return { windowId: `${userId}:${targetIndex}`, userId, targetIndex, history: [0], target: 1, targetTimeMs: 1n };
}

function answer(windowId: string) {
  return { windowId, text: 'x', tokenIds: [1], logProbability: -1, beamTexts: ['x'], beamScores: [-1] };
}

/** What a run would have made of users 7 and 8; user 77 has interactions and no sampled window. */
async function fill(): Promise<Record<string, ArtifactRef>> {
  const interactions = encodeTable('interactions', {
    userId: ['7', '8', '7', '77'],
    item: Int32Array.of(0, 0, 1, 1),
    rating: Float64Array.of(1, 1, 1, 1),
    timeMs: BigInt64Array.of(1n, 2n, 3n, 4n),
    sourceRow: BigInt64Array.of(0n, 1n, 2n, 3n),
  });
  const windows = await store.putBytes(encodeWindows([window('7', 1), window('8', 1)]), { schema: 'windows', rows: 2 });
  const titles = await store.putBytes(Buffer.from('titles'), { schema: 'titles' });
  await finish(
    'prepareData',
    KEYS.prepare,
    {},
    {
      interactions: await store.putBytes(interactions, { schema: 'interactions' }),
      windowsTrain: windows,
      titles,
    },
  );
  const rows = encodeDistilled([answer('7:1'), answer('8:1')]);
  const distilled = await store.putBytes(rows, { schema: 'distilled', rows: 2 });
  await finish('selfDistill', KEYS.distil, { windows }, { distilled });
  const adapter = await store.putBytes(Buffer.from('adapter'));
  await finish('trainEpoch', KEYS.train, { windows, distilled }, { adapter });
  await finish('release', KEYS.release, { softAdapter: adapter }, { 'adapter/adapter_model.safetensors': adapter });
  await store.putRunRecord('night-1', 'status', { steps: Object.values(KEYS).map((key) => ({ key })) });
  return { windows, titles, adapter };
}

async function finish(
  step: string,
  key: string,
  inputs: Record<string, ArtifactRef>,
  outputs: Record<string, ArtifactRef>,
): Promise<void> {
  const digests = Object.fromEntries(Object.entries(inputs).map(([role, { sha256 }]) => [role, sha256]));
  await store.writeManifest(key, { ...manifestOf(key, outputs), step, inputs: digests });
}

async function overwrite(path: string, text: string): Promise<void> {
  await chmod(join(root, path), 0o600);
  await writeFile(join(root, path), text);
}

test('A whole store is verified with exit code 0, in words and as JSON, and nothing is written.', async () => {
  await fill();
  const before = await readdir(root, { recursive: true });
  expect(await softflow('verify')).toMatchObject({ code: 0, out: expect.stringContaining('nothing wrong'), err: '' });
  const { code, json } = await softflow('verify', '--read-data', '--json');
  expect(code).toBe(0);
  expect(json()).toEqual({ store: root, records: 5, blobs: 5, bytesRead: expect.any(Number), findings: [] });
  expect(await readdir(root, { recursive: true })).toEqual(before);
});

test('Damaged, missing and foreign: each has its exit code, and the finding names file, step and both sides.', async () => {
  const { windows, titles } = (await fill()) as { windows: ArtifactRef; titles: ArtifactRef };
  await overwrite(titles.uri, 'tITLES');
  expect((await softflow('verify')).code).toBe(0);
  const damaged = await softflow('verify', '--read-data');
  expect(damaged.code).toBe(10);
  expect(damaged.out).toContain(`damaged ${titles.uri}: expected SHA-256 ${titles.sha256}, found SHA-256 `);
  expect(damaged.out).toContain(`made by prepareData (${KEYS.prepare})`);
  await overwrite(titles.uri, 'titles');
  await rm(join(root, windows.uri));
  const missing = await softflow('verify', '--json');
  expect(missing.code).toBe(11);
  expect(missing.json()).toMatchObject({ findings: [{ kind: 'missing', path: windows.uri, repaired: false }] });
  root = folder;
  expect(await softflow('verify')).toMatchObject({ code: 13, err: expect.stringContaining('NOT_A_STORE') });
});

test('The exit code tells damaged, missing and unreadable apart; what is repaired or foreign counts for nothing.', () => {
  const code = (...kinds: Finding['kind'][]) =>
    findingsExitCode(kinds.map((kind) => ({ kind, repaired: false }) as Finding));
  expect([code(), code('foreign'), code('unreadable'), code('unreadable', 'missing')]).toEqual([0, 0, 12, 11]);
  expect(code('missing', 'damaged', 'unreadable')).toBe(10);
  expect(findingsExitCode([{ kind: 'damaged', repaired: true } as Finding])).toBe(0);
});

test('The parts of a subset find a damage once; what is no part is a usage error.', async () => {
  const { titles } = (await fill()) as { titles: ArtifactRef };
  await overwrite(titles.uri, 'tITLES');
  const codes = [];
  for (const part of ['1/3', '2/3', '3/3']) codes.push((await softflow('verify', '--subset', part)).code);
  expect(codes.sort((a, b) => a - b)).toEqual([0, 0, 10]);
  for (const part of ['0/3', '4/3', '1', 'x/y', '1/0'])
    expect(await softflow('verify', '--subset', part)).toMatchObject({
      code: 2,
      err: expect.stringContaining('USAGE'),
    });
});

test('Garbage goes in two collections; without roots nothing does.', async () => {
  await fill();
  const garbage = await store.putBytes(Buffer.from('garbage'));
  expect((await softflow('gc', '--grace', '1h', '--json')).json()).toMatchObject({ live: 5, setAside: [] });
  const dry = await softflow('gc', '--grace', '0s', '--dry-run', '--json');
  expect(dry.json()).toMatchObject({ dryRun: true, setAside: [garbage.sha256] });
  expect((await stat(join(root, garbage.uri))).size).toBe(7);
  expect((await softflow('gc', '--grace', '0s')).out).toContain('1 set aside');
  expect((await softflow('gc', '--grace', '0s', '--json')).json()).toMatchObject({
    deleted: [garbage.sha256],
    bytesFreed: 7,
  });
  expect(await softflow('gc', '--grace', 'soon')).toMatchObject({
    code: 2,
    err: expect.stringContaining('--grace soon'),
  });
  root = join(folder, 'other');
  await (await openStore(root, { create: true })).putBytes(Buffer.from('rootless'));
  expect(await softflow('gc', '--grace', '0s')).toMatchObject({ code: 1, err: expect.stringContaining('GC_REFUSED') });
});

test('A collection lets go what the recipes of ended runs do not keep.', async () => {
  await fill();
  const config = { model: { source: { folder: 'm' } }, data: { source: { registry: 'movielens-100k' } } };
  await store.putRunRecord('night-1', 'config', RunConfigSchema.parse({ ...config, retention: { days: 30 } }));
  const steps = Object.entries(KEYS).map(([id, key]) => ({ id, key, step: id === 'release' ? id : 'evaluate' }));
  await store.putRunRecord('night-1', 'status', { phase: 'completed', steps });
  const then = new Date(Date.now() - 31 * 24 * 60 * 60 * 1000);
  for (const n of await readdir(join(root, 'runs/night-1/status')))
    await utimes(join(root, 'runs/night-1/status', n), then, then);
  const expired = [KEYS.prepare, KEYS.distil, KEYS.train];
  expect((await softflow('gc', '--dry-run', '--json')).json()).toMatchObject({ expired });
  expect(await store.readManifest(KEYS.train)).toBeDefined();
  expect((await softflow('gc', '--grace', '0s', '--json')).json()).toMatchObject({ expired, live: 1 });
  await softflow('gc', '--grace', '0s');
  expect(await store.readManifest(KEYS.train)).toBeUndefined();
  // Of another run of the same recipe they would be made again.
  expect(await store.isForgotten(KEYS.train)).toBe(false);
  expect(Object.keys((await store.readManifest(KEYS.release))?.outputs ?? {})).toHaveLength(1);
  expect(await readdir(join(root, 'blobs'))).toHaveLength(1);
});

test('Forgetting a user says what is affected, asks for --yes, and leaves no byte of it.', async () => {
  const { adapter } = (await fill()) as { adapter: ArtifactRef };
  await store.advanceRef('current', 0, currentOf(adapter));
  const dry = await softflow('forget', '--user', '7', '--dry-run', '--json');
  expect(dry.code).toBe(0);
  expect(dry.json()).toMatchObject({
    user: '7',
    forgotten: false,
    tables: expect.arrayContaining([
      { step: 'prepareData', key: KEYS.prepare, role: 'interactions', schema: 'interactions', rows: 2 },
      { step: 'prepareData', key: KEYS.prepare, role: 'windowsTrain', schema: 'windows', rows: 1 },
      { step: 'selfDistill', key: KEYS.distil, role: 'distilled', schema: 'distilled', rows: 1 },
    ]),
    releases: [{ key: KEYS.release, current: true }],
    pointers: ['current'],
    runs: ['night-1'],
    erased: 0,
  });
  expect(await softflow('forget', '--user', '7')).toMatchObject({ code: 2, err: expect.stringContaining('--yes') });
  expect(await readdir(join(root, 'blobs'))).toHaveLength(5);
  await store.putRunRecord('night-1', 'status', {
    phase: 'completed',
    steps: [{ id: 'release', key: KEYS.release, step: 'release' }],
  });
  await mkdir(join(releasesFolder(store), KEYS.release), { recursive: true });
  const done = await softflow('forget', '--user', '7', '--yes');
  expect(done).toMatchObject({ code: 0, err: '' });
  expect(done.out).toContain('interactions: 2 rows in 1 table');
  expect(done.out).toContain('is current: promote another one');
  expect(done.out).toMatch(new RegExp(`which you remove yourself: .*releases/${KEYS.release}\\n`));
  await expect(readReleasedRun(store, 'night-1')).rejects.toMatchObject({ code: 'STEP_FORGOTTEN' });
  const lost = { phase: 'completed', steps: [{ id: 'release', key: '0'.repeat(64), step: 'release' }] };
  await store.putRunRecord('night-2', 'status', lost);
  await expect(readReleasedRun(store, 'night-2')).rejects.toMatchObject({ code: 'STEP_MISSING' });
  expect(await readdir(join(root, 'blobs'))).toEqual([]);
  expect((await softflow('verify', '--read-data')).code).toBe(0);
  expect((await softflow('forget', '--user', '7', '--yes')).out).toContain('is in no table of this store');
});

test('A user without a sampled window leaves what was trained without them.', async () => {
  const { adapter } = (await fill()) as { adapter: ArtifactRef };
  const { json } = await softflow('forget', '--user', '77', '--yes', '--json');
  expect(json()).toMatchObject({ forgotten: true, releases: [], steps: [{ step: 'prepareData' }], erased: 3 });
  expect((await readFile(join(root, adapter.uri))).toString()).toBe('adapter');
  expect(await store.readManifest(KEYS.release)).toBeDefined();
});

function currentOf(adapter: ArtifactRef) {
  const files = { 'adapter/adapter_model.safetensors': adapter };
  const told = { by: 'test', at: '2026-01-01T00:00:00Z', reason: 'test', metrics: {}, request: 'one' };
  return { move: 'promote', release: KEYS.release, runId: null, files, from: null, ...told };
}
