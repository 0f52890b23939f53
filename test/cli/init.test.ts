import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadConfigFile } from '../../cli/config-file.ts';
import { runCli } from '../../cli/program.ts';
import { templateNames } from '../../cli/recipe-template.ts';
import { openTerminal } from '../../cli/terminal.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'softflow-init-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function init(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const [out, err]: [string[], string[]] = [[], []];
  const terminal = openTerminal({
    stdout: { write: (text) => out.push(text) },
    stderr: { write: (text) => err.push(text) },
    env: {},
  });
  const code = await runCli(['init', ...args], terminal);
  return { code, out: out.join(''), err: err.join('') };
}

function writeData(times = 'timestamp'): { interactions: string; items: string } {
  const [interactions, items] = [join(folder, 'data', 'log.tsv'), join(folder, 'data', 'products.tsv')];
  mkdirSync(join(folder, 'data'));
  const rows = Array.from({ length: 40 }, (_, i) => `u${i % 4}\tp${i % 10}\t${1_700_000_000 + i}`);
  writeFileSync(interactions, [`customer_id\tproduct_id\t${times}`, ...rows, ''].join('\n'));
  const titles = Array.from({ length: 10 }, (_, i) => `p${i}\tThing ${i}`);
  writeFileSync(items, ['product_id\tname', ...titles, ''].join('\n'));
  return { interactions, items };
}

test('settings of the command line are written into the recipe, comments kept; faults of theirs write nothing', async () => {
  const { interactions, items } = writeData();
  const [file, from] = [join(folder, 'shop.yaml'), ['--from', interactions, '--items', items]];
  const books = ['-s', 'prompt={noun: books, nounSingular: book, verb: read}', '-s', 'data.samples.train=96'];
  expect((await init(file, ...from, ...books, '-s', 'soft.maxEpochs=2')).code).toBe(0);
  expect(readFileSync(file, 'utf8')).toMatch(/samples: \{ train: 96, valid: 64, test: 500 \} # more test windows/);
  const { config } = loadConfigFile(file);
  expect(config.prompt).toMatchObject({ noun: 'books', verb: 'read' });
  expect(config.soft).toMatchObject({ curriculumAlpha: 1, maxEpochs: 2 });
  const wrong = await init(join(folder, 'wrong.yaml'), ...from, '-s', 'soft.curiculumAlpha=3', '-s', 'data.kCore=0');
  expect(wrong.code).toBe(2);
  expect(wrong.err).toContain('-s soft.curiculumAlpha=3: unknown key, did you mean "curriculumAlpha"?');
  expect(wrong.err).toContain('-s data.kCore=0: expected a whole number of 1 or more');
  expect(existsSync(join(folder, 'wrong.yaml'))).toBe(false);
});

test('data of your own become a commented recipe that is valid as it stands', async () => {
  const { interactions, items } = writeData();
  const file = join(folder, 'recipes', 'My Shop.yaml');
  const { code, out, err } = await init(file, '--from', interactions, '--items', items);
  expect([code, err]).toEqual([0, '']);
  expect(out).toContain('wrote');
  const text = readFileSync(file, 'utf8');
  expect(text.startsWith('# yaml-language-server: $schema=./softflow.schema.json\n')).toBe(true);
  expect(text.match(/yaml-language-server/g)).toHaveLength(1);
  expect(text).toContain('# users and items with fewer rows are left out');
  expect(text).toContain('interactions: ../data/log.tsv');
  const { config } = loadConfigFile(file);
  expect(config.name).toBe('my-shop');
  expect(config.data.source).toMatchObject({
    csv: {
      interactions,
      items,
      delimiter: '\t',
      columns: { user: 'customer_id', item: 'product_id', time: 'timestamp', itemsItem: 'product_id', title: 'name' },
    },
  });
  expect(existsSync(join(folder, 'recipes', 'softflow.schema.json'))).toBe(true);
});

test('every template is written with its comments, and its schema beside it', async () => {
  for (const name of templateNames()) {
    const file = join(folder, `${name}.yaml`);
    expect((await init(file, '--template', name)).code).toBe(0);
    const text = readFileSync(file, 'utf8');
    expect(text.split('\n')[0]).toBe('# yaml-language-server: $schema=./softflow.schema.json');
    if (name !== 'nightly') expect(text).toContain(`#   npx softflow run ${name}.yaml`);
    expect(text).not.toMatch(/softflow \w+ recipes/);
  }
  expect(loadConfigFile(join(folder, 'demo.yaml')).config.name).toBe('demo');
});

test('nothing is overwritten, not even where a link points', async () => {
  const file = join(folder, 'my.yaml');
  writeFileSync(file, 'mine');
  symlinkSync(join(folder, 'elsewhere.yaml'), join(folder, 'link.yaml'));
  for (const path of [file, join(folder, 'link.yaml')]) {
    const { code, err } = await init(path);
    expect(code).toBe(2);
    expect(err).toContain('RECIPE_EXISTS');
  }
  expect(readFileSync(file, 'utf8')).toBe('mine');
  expect(existsSync(join(folder, 'elsewhere.yaml'))).toBe(false);
  writeFileSync(join(folder, 'softflow.schema.json'), '{}');
  expect((await init(join(folder, 'other.yaml'))).code).toBe(0);
  expect(readFileSync(join(folder, 'softflow.schema.json'), 'utf8')).toBe('{}');
});

test('wrong wishes are refused with the way on', async () => {
  const { interactions } = writeData('when');
  const file = join(folder, 'my.yaml');
  const cases: [string[], number, string][] = [
    [['--template', 'plantd'], 2, 'did you mean "planted"?'],
    [['--template', 'csv', '--from', interactions], 2, '--from or --template'],
    [['--items', interactions], 2, 'give both'],
    [['--from', join(folder, 'none.csv')], 2, 'DATA_NOT_FOUND'],
    [['--from', interactions], 1, 'No column of times was found'],
  ];
  for (const [args, code, message] of cases) {
    const result = await init(file, ...args);
    expect([result.code, result.err]).toEqual([code, expect.stringContaining(message)]);
  }
  expect(existsSync(file)).toBe(false);
});
