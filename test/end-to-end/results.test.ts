import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStore, type Store } from '../../artifacts/store.ts';
import { exportRun } from '../../cli/export-run.ts';
import { recommend } from '../../cli/recommend.ts';
import { type ReleasedRun, readReleasedRun } from '../../client/run-results.ts';
import { Runs } from '../../client/runs.ts';
import type { WindowRow } from '../../datasets/schemas.ts';
import { decodeItems, decodePredictions, decodeTitles, decodeWindows } from '../../datasets/tables.ts';
import { openWeights } from '../../model/weights.ts';
import type { RunComparison } from '../../report/compare.ts';
import { tinyRun } from '../support/tiny-run.ts';

/** Commands about results, on two real runs of a tiny random model. */
const bin = fileURLToPath(new URL('../../bin/softflow.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'softflow-results-'));
const { TEMPORAL_ADDRESS: _, ...env } = process.env;
let store: Store;
let run: ReleasedRun;

function softflow(...args: string[]) {
  return spawnSync(process.execPath, [bin, ...args], { cwd: folder, encoding: 'utf8', env });
}

beforeAll(async () => {
  // Trainers that the functions below start run from the sources.
  process.env['NODE_OPTIONS'] = `--import ${new URL('../support/ts-loader.mjs', import.meta.url).href}`;
  const config = await tinyRun(folder, { checkpoint: { every: 60 } });
  writeFileSync(join(folder, 'tiny.yaml'), JSON.stringify(config));
  const first = softflow('run', 'tiny.yaml', '-s', 'train.maxEpochs=1');
  expect(first.stderr + first.stdout).toContain('completed');
  const second = softflow(
    'run',
    'tiny.yaml',
    '--name',
    'other',
    '-s',
    'train.maxEpochs=1',
    '-s',
    'soft.curriculumAlpha=1',
  );
  expect(second.stderr + second.stdout).toContain('completed');
  softflow('dev', 'stop');
  store = await openStore(join(folder, '.softflow/store'));
  run = await readReleasedRun(store, await new Runs({ store }).find('tiny'));
}, 300_000);

afterAll(() => {
  softflow('dev', 'stop');
  rmSync(folder, { recursive: true });
}, 120_000);

const windowsOf = async (name: string): Promise<WindowRow[]> =>
  decodeWindows(await store.getBytes(await run.output('prepare', name)));

/** The histories of windows as a file, user by user in the order of the windows. */
async function writeHistories(path: string, windows: readonly WindowRow[]): Promise<void> {
  const items = decodeItems(await store.getBytes(await run.output('prepare', 'items')));
  const rows = windows.flatMap(({ windowId, history }) =>
    history.map((item, time) => `${windowId},${items[item]?.itemId},${time}`),
  );
  writeFileSync(path, `user_id,item_id,timestamp\n${rows.join('\n')}\n`);
}

/** Data rows of a CSV file without quoted commas. */
const csv = (path: string): string[][] =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(','));

describe('softflow compare', () => {
  it('tells two runs apart from the store alone, and refuses other windows', () => {
    const { status, stdout } = softflow('compare', 'tiny', 'other', '--json');
    expect(status).toBe(0);
    const comparison = JSON.parse(stdout) as RunComparison;
    expect(comparison.config).toEqual([{ key: 'soft.curriculumAlpha', first: 50, second: 1 }]);
    const sft = comparison.results.find(({ model, kind }) => model === 'sft' && kind === 'hr');
    expect(sft?.difference).toMatchObject({ mean: 0, low: 0, high: 0, wins: 0, losses: 0 });
    expect(new Set(comparison.slices.map(({ by }) => by))).toEqual(new Set(['historyLength', 'popularity']));
    expect(softflow('compare', 'tiny', 'none')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('RUN_NOT_FOUND'),
    });
    expect(softflow('compare', 'tiny', 'other', '--k', '7').stderr).toContain('COMPARE_REFUSED');
  });
});

describe('softflow recommend', () => {
  it('ranks as evaluation does: the true title of each test window stands where the report says', async () => {
    const windows = await windowsOf('windowsTest');
    const users = join(folder, 'test.csv');
    const output = join(folder, 'recs.csv');
    await writeHistories(users, windows);
    const titles = decodeTitles(await store.getBytes(await run.output('prepare', 'titles'))).length;
    const result = await recommend({ store, runId: run.runId, users, output, k: titles });
    expect(result).toMatchObject({ users: windows.length, rows: windows.length * titles });
    const predictions = decodePredictions(await store.getBytes(await run.output('test-soft', 'predictions')));
    const rows = csv(output);
    const itemIds = decodeItems(await store.getBytes(await run.output('prepare', 'items'))).map(({ itemId }) => itemId);
    let agreeing = 0;
    for (const [i, { windowId, target }] of windows.entries()) {
      const own = rows.filter(([user]) => user === windowId);
      const place = own.findIndex(([, , item]) => item === itemIds[target]) + 1;
      // Equal distances count against the target in evaluation, so the place may be better, never worse.
      expect(place).toBeLessThanOrEqual(predictions[i]?.rank as number);
      if (place === predictions[i]?.rank) agreeing++;
    }
    expect(agreeing / windows.length).toBeGreaterThan(0.9);
  });

  it('writes nothing when interrupted, and the same command writes it afterwards', async () => {
    const users = join(folder, 'train.csv');
    const output = join(folder, 'train.parquet');
    await writeHistories(users, (await windowsOf('windowsTrain')).slice(0, 12));
    const options = { store, runId: run.runId, users, output, k: 3 };
    await expect(recommend({ ...options, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(readdirSync(folder)).not.toContain('train.parquet');
    const { status, stdout, stderr } = softflow(
      'recommend',
      '--run',
      'tiny',
      '--users',
      users,
      '-k',
      '3',
      '-o',
      output,
    );
    // A slow machine shows how far it is.
    expect(stderr).not.toContain('error');
    expect(status).toBe(0);
    expect(stdout).toMatch(/train\.parquet: 36 recommendations for 12 users by tiny-/);
    expect(readdirSync(folder).filter((name) => name.startsWith('.softflow-'))).toEqual([]);
  });

  it('refuses histories without a known item, more items than there are, and unknown endings', async () => {
    const users = join(folder, 'foreign.csv');
    writeFileSync(users, 'user_id,item_id\nu,nope\n');
    const options = { store, runId: run.runId, users, output: join(folder, 'x.csv') };
    await expect(recommend(options)).rejects.toMatchObject({ code: 'NO_HISTORIES' });
    await writeHistories(users, (await windowsOf('windowsTest')).slice(0, 1));
    await expect(recommend({ ...options, k: 10_000 })).rejects.toMatchObject({ code: 'USAGE' });
    await expect(recommend({ ...options, output: 'x.txt' })).rejects.toMatchObject({ code: 'USAGE' });
  });
});

describe('softflow export', () => {
  it('writes a merged model that answers as base + adapter, and not as the base model', async () => {
    const target = join(folder, 'merged');
    const { status, stdout } = softflow('export', 'tiny', '--format', 'merged', '--verify', '-o', target, '--json');
    expect(status).toBe(0);
    const { files, verified } = JSON.parse(stdout);
    expect(files).toEqual(expect.arrayContaining(['README.md', 'config.json', 'metrics.json', 'model.safetensors']));
    expect(verified.logits).toMatchObject({ prompts: 16 });
    expect(verified.logits.maxLogitDifference).toBeLessThan(1e-3 * verified.logits.maxLogit);
    const [base, merged] = [
      await openWeights({ folder: join(folder, 'tiny-model') }),
      await openWeights({ folder: target }),
    ];
    const name = 'model.layers.0.self_attn.q_proj.weight';
    expect((await merged.tensor(name)).data).not.toEqual((await base.tensor(name)).data);
    expect(readFileSync(join(target, 'README.md'), 'utf8')).toContain('library_name: transformers');
  });

  it('writes the adapter and the embeddings as they are in the store, and the top items of every user', async () => {
    const options = { store, runId: run.runId, verify: true };
    const peft = await exportRun({ ...options, format: 'peft', folder: join(folder, 'peft') });
    expect(peft.files).toContain('adapter_model.safetensors');
    expect(peft.verified?.files).toBe(peft.files.length);
    const embeddings = await exportRun({ ...options, format: 'embeddings', folder: join(folder, 'embeddings') });
    expect(embeddings.files).toEqual([
      'README.md',
      'embeddings.arrow',
      'items.parquet',
      'lineage.json',
      'metrics.json',
    ]);
    const topk = await exportRun({ ...options, format: 'topk', k: 2, folder: join(folder, 'topk') });
    expect(topk.files).toContain('recommendations.parquet');
    await expect(exportRun({ ...options, format: 'peft', folder: join(folder, 'peft') })).rejects.toMatchObject({
      code: 'USAGE',
    });
    expect(readdirSync(folder).filter((name) => name.startsWith('.softflow-'))).toEqual([]);
  });

  it('says what to do about a run that has no results yet', async () => {
    await store.putRunRecord('begun-1', 'status', { phase: 'running', steps: [] });
    const exporting = exportRun({ store, runId: 'begun-1', format: 'peft', folder: join(folder, 'none') });
    await expect(exporting).rejects.toMatchObject({
      code: 'RUN_UNFINISHED',
      message: expect.stringContaining('softflow resume begun-1'),
    });
  });
});
