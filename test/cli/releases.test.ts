import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { recordDecision } from '../../artifacts/decisions.ts';
import { currentRelease } from '../../artifacts/releases.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { runCli } from '../../cli/program.ts';
import { paintFor } from '../../cli/terminal.ts';
import { keyOf, writeRelease } from '../artifacts/release-steps.ts';

const home = process.cwd();
let store: Store;

beforeEach(async () => {
  process.chdir(mkdtempSync(join(tmpdir(), 'softflow-releases-')));
  store = await openStore('.softflow/store', { create: true });
});
afterEach(() => {
  const folder = process.cwd();
  process.chdir(home);
  rmSync(folder, { recursive: true, force: true });
});

/** A run that has reached its end, as its records in the store say. */
async function finishedRun(runId: string, createdAt: string): Promise<void> {
  await writeRelease(store, runId);
  await store.putRunRecord(runId, 'config', { promote: { minWindows: 2 } });
  await store.putRunRecord(runId, 'start', { createdAt, tags: [] });
  const steps = [{ id: 'release', step: 'release', state: 'run', key: keyOf(runId) }];
  await store.putRunRecord(runId, 'status', { runId, phase: 'completed', steps });
}

async function softflow(...argv: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const raw = (text: string) => void out.push(text);
  const terminal = { out: raw, err: (line: string) => void err.push(line), raw, interactive: false, columns: 100 };
  const code = await runCli(argv, { ...terminal, paint: paintFor(false) });
  return { code, out: out.join('\n'), err: err.join('\n') };
}

it('lists, promotes, rejects, rolls back and audits from the store alone', async () => {
  await finishedRun('monday-1', '2026-11-23T03:00:00.000Z');
  await finishedRun('tuesday-1', '2026-11-24T03:00:00.000Z');
  await finishedRun('wednesday-1', '2026-11-25T03:00:00.000Z');
  expect((await softflow('promote', 'monday', '--force', '--reason', 'the first')).out).toBe(
    'monday-1 is current now, number 1: the first',
  );
  expect(await softflow('promote', 'tuesday', '--force', '--json')).toMatchObject({ code: 0 });
  expect((await softflow('reject', 'latest', '--reason', 'odd')).out).toContain('wednesday-1 is rejected');
  expect((await softflow('releases')).out.split('\n').map((line) => line.replace(/ +/g, ' '))).toEqual([
    ` wednesday-1 ${keyOf('wednesday-1').slice(0, 12)} 2026-11-25 03:00 rejected: odd`,
    `* tuesday-1 ${keyOf('tuesday-1').slice(0, 12)} 2026-11-24 03:00 number 2 promoted: promoted without the rule`,
    ` monday-1 ${keyOf('monday-1').slice(0, 12)} 2026-11-23 03:00 number 1 promoted: the first`,
    'Servers read .softflow/releases/current',
  ]);
  expect((await softflow('rollback', '--reason', 'complaints')).out).toContain('monday-1');
  expect((await currentRelease(store))?.release).toBe(keyOf('monday-1'));
  expect(await softflow('rollback', '--to', 'tues')).toMatchObject({ code: 0 });
  const audit = JSON.parse((await softflow('releases', '--audit', '--json')).out) as { what: string; number: number }[];
  expect(audit.map(({ what, number }) => [what, number])).toEqual([
    ['promote', 1],
    ['promote', 2],
    ['rejected', null],
    ['rollback', 3],
    ['rollback', 4],
  ]);
  expect((await softflow('releases', '--audit')).out).toMatch(
    /rollback +monday-1 +-> [0-9a-f]{12}, number 3 +by .+complaints/,
  );
});

it('says what is missing, with exit codes for scripts', async () => {
  expect((await softflow('releases')).out).toContain('No releases yet');
  expect(await softflow('rollback')).toMatchObject({ code: 1, err: expect.stringContaining('ROLLBACK_IMPOSSIBLE') });
  expect(await softflow('rollback', '--to', 'x')).toMatchObject({
    code: 2,
    err: expect.stringContaining('RELEASE_NOT_FOUND'),
  });
  expect(await softflow('promote', 'none', '--force')).toMatchObject({
    code: 2,
    err: expect.stringContaining('RUN_NOT_FOUND'),
  });
  expect((await softflow('reject', 'latest')).code).toBe(2);
  await finishedRun('monday-1', '2026-11-23T03:00:00.000Z');
  const begun = { runId: 'half-1', phase: 'running', steps: [{ id: 'release', step: 'release', state: 'pending' }] };
  await store.putRunRecord('half-1', 'start', { createdAt: '2026-11-24T03:00:00.000Z', tags: [] });
  await store.putRunRecord('half-1', 'status', begun);
  expect((await softflow('promote', 'half-1', '--force')).err).toContain('RUN_UNFINISHED');
  expect((await softflow('releases')).out).not.toContain('half-1');
});

it('does not reject over the head of a promotion that waits on a server that is down', async () => {
  await finishedRun('monday-1', '2026-11-23T03:00:00.000Z');
  const question = { runId: 'monday-1', release: keyOf('monday-1'), champion: null, by: 'nightly', reason: 'better' };
  await recordDecision(store, { ...question, decision: 'waiting', metrics: {} });
  const refused = await softflow('reject', 'monday-1', '--reason', 'odd');
  expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('TEMPORAL_UNREACHABLE') });
  expect((await softflow('releases')).out).toContain('waiting: better');
});

it('looks for a run, a schedule or what to promote without making a folder or starting a server', async () => {
  rmSync('.softflow', { recursive: true });
  for (const argv of [
    ['resume', 'latest'],
    ['promote', 'latest'],
    ['schedule', 'describe', 'nightly'],
  ])
    expect(await softflow(...argv)).toMatchObject({ code: 2, err: expect.stringContaining('RUN_NOT_FOUND') });
  expect(await softflow('schedule', 'list', '--json')).toEqual({ code: 0, out: '[]', err: '' });
  expect(existsSync('.softflow')).toBe(false);
});

it('starts no server for a run that is not there', async () => {
  await finishedRun('monday-1', '2026-11-23T03:00:00.000Z');
  const before = readdirSync('.softflow');
  for (const argv of [
    ['resume', 'tuesday'],
    ['promote', 'tuesday'],
  ])
    expect(await softflow(...argv)).toMatchObject({ code: 2, err: expect.stringContaining('RUN_NOT_FOUND') });
  expect(readdirSync('.softflow')).toEqual(before);
});

it('lists no schedules of a server that is not running: starting it would start their retrains', async () => {
  const { code, err } = await softflow('schedule', 'list');
  expect([code, err]).toEqual([1, expect.stringContaining('none is running. Next: softflow dev start')]);
});

it.each([
  [[], 'Nothing to change'],
  [['-s', 'seed=3'], '--set: name the recipe too'],
  [['--grid', 'seed=1,2'], '--grid: name the recipe too'],
])('changes no schedule by %j alone', async (options, message) => {
  const { code, err } = await softflow('schedule', 'update', 'nightly', ...options);
  expect([code, err]).toEqual([2, expect.stringContaining(message)]);
  expect(existsSync('.softflow/dev.json')).toBe(false);
});
