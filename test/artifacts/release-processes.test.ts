import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { promoteRun } from '../../artifacts/decisions.ts';
import { writeReleaseView } from '../../artifacts/release-view.ts';
import {
  currentRelease,
  promoteRelease,
  type ReleaseMove,
  releaseMoves,
  rollbackRelease,
} from '../../artifacts/releases.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { temporaryFolder } from './fixtures.ts';
import { keyOf, promotion, writeRelease } from './release-steps.ts';

const RACES = 100;
const RACERS = 4;

beforeAll(async () => {
  const build = (await import(new URL('../../bin/build.mjs', import.meta.url).href)) as { buildIfStale(): boolean };
  build.buildIfStale();
});

function start(script: string, ...parts: (string | number)[]): ChildProcess {
  const path = fileURLToPath(new URL(script, import.meta.url));
  return spawn(process.execPath, [path, ...parts.map(String)], { stdio: ['pipe', 'pipe', 'inherit'] });
}

test('In each of 100 races of four processes for current one wins, and all others are told who. (R19)', async (context) => {
  const root = join(await temporaryFolder(), 'store');
  const store = await openStore(root, { create: true });
  const names = Array.from({ length: RACERS }, (_, racer) => `racer ${racer}`);
  for (const name of names) await writeRelease(store, name);
  const racers = names.map((name) => {
    const child = start('promote-child.mjs', root);
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
    return { name, child, next: async () => (await lines.next()).value as string };
  });
  await Promise.all(racers.map(({ next }) => next()));
  for (let race = 0; race < RACES; race++) {
    for (const { name, child } of racers)
      child.stdin?.write(`${JSON.stringify({ release: keyOf(name), expected: race })}\n`);
    const told = (await Promise.all(racers.map(({ next }) => next()))).map((line) => JSON.parse(line));
    const winners = told.filter(({ won }) => won);
    expect(winners).toHaveLength(1);
    expect(winners[0].by).toBe(winners[0].mine);
    for (const answer of told) expect(answer).toMatchObject({ number: race + 1, by: winners[0].mine });
  }
  for (const { child } of racers) child.stdin?.end();
  await Promise.all(racers.map(({ child }) => once(child, 'exit')));
  expect(await releaseMoves(store)).toHaveLength(RACES);
  faultFigure(context, RACES, `${RACES} races of ${RACERS} processes for current: one winner each`);
}, 300_000);

/** A store in which `old` is current and served, with a finished `new` beside it or not. */
async function storeToCopy(finished: boolean): Promise<string> {
  const root = join(await temporaryFolder(), 'state', 'store');
  const store = await openStore(root, { create: true });
  await writeRelease(store, 'old');
  if (finished) await writeRelease(store, 'new');
  await promoteRun(store, { ...promotion('old', 0), runId: 'run-old' });
  await writeReleaseView(store);
  return join(root, '..');
}

/** Runs `action` on copies of a state folder, killed at each of its writing file operations; `check` looks at each. */
async function killedEverywhere(
  original: string,
  action: string,
  check: (store: Store, state: string) => Promise<void>,
): Promise<number> {
  const copies = await temporaryFolder();
  const startOnCopy = async (k: number, moment: string) => {
    const state = join(copies, `${k}-${moment}`);
    await cp(original, state, { recursive: true, verbatimSymlinks: true });
    return { state, child: start('release-child.mjs', join(state, 'store'), action, k, moment) };
  };
  const undisturbed = (await startOnCopy(0, 'before')).child;
  const writes = JSON.parse(undisturbed.stdout ? await text(undisturbed.stdout) : '[]') as string[];
  const moments = (name: string) => (name === 'write' ? ['before', 'half'] : ['before']);
  const points = writes.flatMap((name, index) => moments(name).map((moment) => ({ k: index + 1, moment })));
  const visit = async ({ k, moment }: (typeof points)[number]) => {
    const { state, child } = await startOnCopy(k, moment);
    expect((await once(child, 'exit'))[1]).toBe('SIGKILL');
    await check(await openStore(join(state, 'store')), state);
  };
  for (let first = 0; first < points.length; first += 2) await Promise.all(points.slice(first, first + 2).map(visit));
  return points.length;
}

/** What a server reads: the whole of one release, by the store and by the folder beside it. */
async function requireServable(store: Store, state: string): Promise<ReleaseMove> {
  const current = (await currentRelease(store)) as ReleaseMove;
  for (const ref of Object.values(current.files)) await store.getBytes(ref);
  const served = await readlink(join(state, 'releases', 'current'));
  const files = (await releaseMoves(store)).find(({ release }) => release === served)?.files ?? {};
  expect(Object.keys(files)).toHaveLength(2);
  for (const [path, ref] of Object.entries(files))
    expect(await readFile(join(state, 'releases', 'current', path))).toEqual(Buffer.from(await store.getBytes(ref)));
  return current;
}

test('A process killed at any write of a release leaves current as it was, and the next one finishes. (R19)', async (context) => {
  const whole: boolean[] = [];
  const points = await killedEverywhere(await storeToCopy(false), 'release', async (store, state) => {
    expect((await requireServable(store, state)).release).toBe(keyOf('old'));
    const made = (await store.readManifest(keyOf('new'))) !== undefined;
    whole.push(made);
    const promoting = promoteRelease(store, promotion('new', 1));
    if (made) expect((await promoting).won).toBe(true);
    else await expect(promoting).rejects.toMatchObject({ code: 'RELEASE_NOT_FOUND' });
    if (made) return;
    await writeRelease(store, 'new');
    expect(await promoteRelease(store, promotion('new', 1))).toMatchObject({ won: true, current: { number: 2 } });
  });
  expect(points).toBeGreaterThan(20);
  expect(new Set(whole)).toEqual(new Set([false, true]));
  faultFigure(context, points, `${points} kills in a release: current untouched`);
}, 300_000);

test('A process killed at any write of a promotion leaves the old release current or the new, and one move in the audit. (R19)', async (context) => {
  const found: string[] = [];
  const points = await killedEverywhere(await storeToCopy(true), 'promote', async (store, state) => {
    const { release, number } = await requireServable(store, state);
    expect([release, number]).toEqual(number === 1 ? [keyOf('old'), 1] : [keyOf('new'), 2]);
    found.push(release);
    const again = { ...promotion('new', 1), runId: 'run-new', request: 'the same for every attempt' };
    expect(await promoteRun(store, again)).toMatchObject({ won: true, current: { number: 2 } });
    await writeReleaseView(store);
    expect((await requireServable(store, state)).release).toBe(keyOf('new'));
    expect(await readlink(join(state, 'releases', 'current'))).toBe(keyOf('new'));
    expect(await releaseMoves(store)).toHaveLength(2);
  });
  expect(points).toBeGreaterThan(30);
  expect(new Set(found)).toEqual(new Set([keyOf('old'), keyOf('new')]));
  faultFigure(context, points, `${points} kills in a promotion: old or new, never a mix`);
}, 300_000);

test('A process killed at any write of a rollback leaves the new release current or the old. (R19)', async (context) => {
  const original = await storeToCopy(true);
  const store = await openStore(join(original, 'store'));
  await promoteRun(store, { ...promotion('new', 1), runId: 'run-new' });
  await writeReleaseView(store);
  const found: string[] = [];
  const points = await killedEverywhere(original, 'rollback', async (copy, state) => {
    const { release } = await requireServable(copy, state);
    found.push(release);
    if (release === keyOf('new')) await rollbackRelease(copy, { by: 'next', reason: 'worse' });
    await writeReleaseView(copy);
    expect(await requireServable(copy, state)).toMatchObject({ release: keyOf('old'), number: 3, move: 'rollback' });
  });
  expect(new Set(found)).toEqual(new Set([keyOf('old'), keyOf('new')]));
  faultFigure(context, points, `${points} kills in a rollback: old or new`);
}, 300_000);
