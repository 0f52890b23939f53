import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chdir, cwd } from 'node:process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { lookUpStep } from '../../activities/look-up-step.ts';
import { openStore } from '../../artifacts/store.ts';
import { loadConfigFile } from '../../cli/config-file.ts';
import type { PreparedReport } from '../../cli/prepared-view.ts';
import { runCli } from '../../cli/program.ts';
import { openTerminal } from '../../cli/terminal.ts';
import { decodeItems, decodeWindows } from '../../datasets/tables.ts';
import { stepParams } from '../../workflows/step-params.ts';

const SPLITS = ['train', 'train', 'valid', 'test'];
const RECIPE = `model: { source: { folder: . } }
data:
  source: { csv: { interactions: rows.csv, items: items.csv, columns: { split: fold } } }
  kCore: 1
`;

const before = cwd();
beforeAll(async () => {
  chdir(await mkdtemp(join(tmpdir(), 'softflow-data-prepare-')));
  const rows = ['a', 'b', 'c', 'd'].flatMap((item, i) =>
    ['u', 'v'].map((user) => [user, item, i + 1, SPLITS[i]].join(',')),
  );
  await writeFile('rows.csv', `user_id,item_id,timestamp,fold\n${rows.join('\n')}\n`);
  await writeFile('items.csv', 'item_id,title\na,A\nb,B\nc,C\nd,D\n');
  await writeFile('shop.yaml', RECIPE);
});
afterAll(async () => {
  const folder = cwd();
  chdir(before);
  await rm(folder, { recursive: true });
});

async function softflow(...args: string[]) {
  let [out, err] = ['', ''];
  const terminal = openTerminal({
    stdout: { write: (text: string) => (out += text) },
    stderr: { write: (text: string) => (err += text) },
  });
  const code = await runCli(['data', 'prepare', ...args], terminal);
  return { code, out, err };
}
const prepare = async (...args: string[]) =>
  JSON.parse((await softflow('shop.yaml', '--json', ...args)).out) as PreparedReport;

test('what is prepared is the step that a run looks up, and is done once', async () => {
  const first = await prepare();
  expect(first).toMatchObject({
    ...{ recipe: 'shop.yaml', reused: false, windows: { train: 2, valid: 2, test: 2 } },
    splitHash: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  const { config } = loadConfigFile('shop.yaml');
  const sources = { model: { source: config.model.source, digest: '' }, data: { digest: first.source.digest } };
  const params = stepParams(config, sources).prepareData();
  const { key, found } = await lookUpStep(await openStore('.softflow/store'), {
    step: 'prepareData',
    inputs: {},
    params,
  });
  expect({ key, done: found !== undefined }).toEqual({ key: first.key, done: true });
  expect(await prepare()).toMatchObject({ key: first.key, reused: true, splitHash: first.splitHash });
});

test('the split hash is that of the windows: a seed that draws all of them anew changes it, an unread column does not', async () => {
  const { splitHash } = await prepare();
  expect((await prepare('-s', 'data.historyLength=1')).splitHash).not.toBe(splitHash);
  expect((await prepare('-s', 'data.ratingMin=null', '-s', 'data.maxBadRows=0.5')).splitHash).toBe(splitHash);
});

test('the tables are written as Arrow files, whole or not at all', async () => {
  const { written } = await prepare('-o', 'out');
  expect(written?.files).toHaveLength(7);
  const items = decodeItems(await readFile('out/items.arrow'));
  const [window] = decodeWindows(await readFile('out/windows-test.arrow'));
  expect(window?.history.map((item) => items[item]?.title)).toEqual(['A', 'B', 'C']);
  expect(JSON.parse(await readFile('out/dataset-card.json', 'utf8'))).toMatchObject({ counts: { windowsTest: 2 } });
  const again = await softflow('shop.yaml', '-o', 'out');
  expect(again).toMatchObject({ code: 2, err: expect.stringContaining('found 7 files in') });
});

test('as text it says what was read, left out and drawn', async () => {
  const { code, out } = await softflow('shop.yaml', '-s', 'data.samples.train=1');
  expect(code).toBe(0);
  expect(out).toContain('interactions: 8 rows read, 8 kept of 2 users and 4 items, 4 titles');
  expect(out).toContain('  train  2, 1 drawn\n');
  expect(out).toMatch(/split hash: [0-9a-f]{64}\n/);
});

test('a data file stands for the recipe that init makes of it', async () => {
  const args = ['--items', 'items.csv', '-s', 'data.kCore=1'];
  const { out } = await softflow('rows.csv', '--json', ...args);
  const report = JSON.parse(out) as PreparedReport;
  expect(report).toMatchObject({ recipe: 'rows.csv', windows: { train: 2, valid: 2, test: 2 } });
  expect(report.splitHash).toBe((await prepare()).splitHash);
  expect(await softflow('shop.yaml', ...args)).toMatchObject({ code: 2, err: expect.stringContaining('--items') });
});
