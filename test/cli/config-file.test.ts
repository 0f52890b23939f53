// biome-ignore-all lint/suspicious/noTemplateCurlyInString: ${NAME} is the recipe's own syntax.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type LoadOptions, loadConfigFile } from '../../cli/config-file.ts';
import { SoftflowError } from '../../errors.ts';

const root = mkdtempSync(join(tmpdir(), 'softflow-config-'));
mkdirSync(join(root, 'recipes'));
mkdirSync(join(root, 'data'));
writeFileSync(join(root, 'data', 'items.csv'), 'item_id,title\n');
writeFileSync(join(root, 'data', 'ratings.csv'), 'user_id,item_id,timestamp\n');
afterAll(() => rmSync(root, { recursive: true }));

const BASE = 'model: {source: {registry: smollm2-135m-instruct}}\ndata: {source: {registry: movielens-100k}}\n';

function load(text: string | Buffer, options: LoadOptions = {}) {
  writeFileSync(join(root, 'recipes', 'x.yaml'), text);
  return loadConfigFile('recipes/x.yaml', { cwd: root, env: {}, ...options }).config;
}

function faults(text: string | Buffer, options: LoadOptions = {}): string[] {
  try {
    load(text, options);
  } catch (error) {
    if (!(error instanceof SoftflowError)) throw error;
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.retryable).toBe(false);
    return error.details['faults'] as string[];
  }
  throw new Error('the config was accepted');
}

describe('a good recipe', () => {
  it('is resolved with every default filled in', () => {
    const config = load(`${BASE}train:\n  learningRate: 1e-3\n`);
    expect(config.train.learningRate).toBe(0.001);
    expect(config.train.batchSize).toBe(256);
    expect(config.soft.distancePrompts).toBe(256);
  });

  it('may start with a byte-order mark and use CRLF', () => {
    expect(load(`\uFEFF${BASE.replaceAll('\n', '\r\n')}seed: 7\r\n`).seed).toBe(7);
  });

  it('resolves relative paths from its own folder and fills in environment variables', () => {
    const config = load(
      'model: {source: {registry: smollm2-135m-instruct}}\ndata: {source: {csv: {interactions: "${DATA}/ratings.csv", items: ../data/items.csv}}}\n',
      { env: { DATA: join(root, 'data') } },
    );
    expect(config.data.source).toMatchObject({
      csv: { interactions: join(root, 'data', 'ratings.csv'), items: join(root, 'data', 'items.csv') },
    });
  });
});

describe('faults of a recipe', () => {
  const cases: [title: string, text: string, expected: string[]][] = [
    [
      'an unknown key is placed and corrected',
      `${BASE}soft:\n    curiculumAlpha: 1\n`,
      ['recipes/x.yaml:4:5 soft.curiculumAlpha: unknown key, did you mean "curriculumAlpha"?'],
    ],
    [
      'a key of another section is told where it belongs',
      `${BASE}batchSize: 8\n`,
      ['recipes/x.yaml:3:1 batchSize: unknown key; it belongs at train.batchSize'],
    ],
    [
      'a wrong type names what was expected and found',
      `${BASE}train: {batchSize: many}\n`,
      ['recipes/x.yaml:3:20 train.batchSize: expected a whole number of 1 or more, got "many"'],
    ],
    [
      'a number out of range names the range',
      `${BASE}lora: {dropout: 1.5}\n`,
      ['recipes/x.yaml:3:17 lora.dropout: expected a number from 0 to 0.9, got 1.5'],
    ],
    [
      'a dotted key is told how to nest',
      `${BASE}data.kCore: 3\n`,
      ['recipes/x.yaml:3:1 data.kCore: unknown key; write it nested: data: {kCore: ...}'],
    ],
    [
      'a choice that does not exist is corrected',
      `${BASE}train: {select: bst}\n`,
      ['recipes/x.yaml:3:17 train.select: expected one of "best", "last", got "bst", did you mean "best"?'],
    ],
    [
      'a number where text belongs asks for quotes',
      `${BASE}prompt: {noun: 7}\n`,
      ['recipes/x.yaml:3:16 prompt.noun: expected text, got 7; put quotes around it'],
    ],
    [
      'an empty section says so',
      `${BASE}prompt:\n`,
      [
        'recipes/x.yaml:3:1 prompt: expected a mapping of noun, nounSingular, verb, template, maxTokens, truncate, got nothing; give a value or remove the key',
      ],
    ],
    [
      'a list entry is named by its index',
      `${BASE}evaluation:\n  ks:\n    - 1\n    - zero\n`,
      ['recipes/x.yaml:6:7 evaluation.ks.1: expected a whole number of 1 or more, got "zero"'],
    ],
    [
      'a missing section is a fault of the file',
      'data: {source: {registry: movielens-100k}}\n',
      ['recipes/x.yaml:1:1 model: missing; expected a mapping of source, precision'],
    ],
    [
      'a source of no kind lists the kinds',
      'model: {source: {registry: smollm2-135m-instruct}}\ndata:\n  source: {}\n',
      [
        'recipes/x.yaml:3:3 data.source: expected a mapping with exactly one of registry, csv, recbole, planted, parquet, postgres, got none of them',
      ],
    ],
    [
      'a misspelt kind is corrected',
      'model: {source: {registry: smollm2-135m-instruct}}\ndata: {source: {recbol: {folder: x}}}\n',
      [
        'recipes/x.yaml:2:8 data.source: expected a mapping with exactly one of registry, csv, recbole, planted, parquet, postgres, got recbol; did you mean "recbole"?',
      ],
    ],
    [
      'two kinds at once are refused',
      'model: {source: {registry: smollm2-135m-instruct}}\ndata: {source: {registry: movielens-100k, planted: {}}}\n',
      [
        'recipes/x.yaml:2:8 data.source: expected a mapping with exactly one of registry, csv, recbole, planted, parquet, postgres, got registry and planted',
      ],
    ],
    [
      "a chosen kind reports only that kind's faults",
      'model: {source: {registry: smollm2-135m-instruct}}\ndata: {source: {csv: {interactions: ../data/ratings.csv, colums: {}}}}\n',
      [
        'recipes/x.yaml:2:17 data.source.csv.items: missing; expected text',
        'recipes/x.yaml:2:58 data.source.csv.colums: unknown key, did you mean "columns"?',
      ],
    ],
    [
      'a registry that does not exist names the one that does',
      'model: {source: {registry: smollm3}}\ndata: {source: {registry: movielens-100k}}\n',
      ['recipes/x.yaml:1:28 model.source.registry: expected "smollm2-135m-instruct", got "smollm3"'],
    ],
    [
      'a rule over two fields stands at the field to change',
      `${BASE}train: {batchSize: 256, microBatchSize: 7}\n`,
      ['recipes/x.yaml:3:41 train.microBatchSize: Expected `microBatchSize` to divide batchSize (256), got 7'],
    ],
    [
      'a missing file is found before anything is set up',
      'model: {source: {registry: smollm2-135m-instruct}}\ndata: {source: {csv: {interactions: ../data/ratings.csv, items: nowhere.csv}}}\n',
      [`recipes/x.yaml:2:65 data.source.csv.items: no such file or folder: ${join(root, 'recipes', 'nowhere.csv')}`],
    ],
    [
      'an unset environment variable is named',
      'model: {source: {gguf: "${MODELS}/m.gguf"}}\ndata: {source: {registry: movielens-100k}}\n',
      ['recipes/x.yaml:1:24 model.source.gguf: the environment variable MODELS is not set'],
    ],
    [
      'an environment variable outside a path is refused',
      `${BASE}prompt: {noun: "\${SECRET}"}\n`,
      [
        'recipes/x.yaml:3:16 prompt.noun: ${NAME} is read in paths only (data.source.csv.interactions, data.source.csv.valid, data.source.csv.test, data.source.csv.items, data.source.recbole.folder, data.source.parquet.folder, data.source.parquet.valid, data.source.parquet.test, data.source.parquet.items, model.source.folder, model.source.gguf)',
      ],
    ],
    [
      'a list as a whole recipe is refused',
      '- a\n',
      ['recipes/x.yaml:1:1 expected a mapping of keys like `data:` and `model:`'],
    ],
    [
      'a value with brackets and no quotes is one fault, not one for each word after it',
      'model: {source: {folder: ${MODELS}/tiny, gguf: x}}\ndata:\n  source: {registry: movielens-100k}\n',
      [
        'recipes/x.yaml:1:27 not valid YAML: Unexpected flow-map-start at node end; text with { } [ ] in it needs quotes around it',
      ],
    ],
    [
      'a key written twice is refused',
      'seed: 1\nseed: 2\n',
      ['recipes/x.yaml:2:1 this key is written twice; keep one'],
    ],
    [
      'tabs as indentation are refused',
      'train:\n\tbatchSize: 1\n',
      ['recipes/x.yaml:2:1 indent with spaces, not with tabs'],
    ],
    [
      'a second document is refused',
      'seed: 1\n---\nseed: 2\n',
      ['recipes/x.yaml:2:1 expected one YAML document, got a second one after `---`'],
    ],
    ['a tag is refused', 'seed: !!js/function 1\n', ['recipes/x.yaml:1:7 tags (`!name`) are not allowed in a recipe']],
    [
      'prototype pollution is refused',
      '__proto__: {polluted: true}\n',
      ['recipes/x.yaml:1:1 the key __proto__ is not allowed'],
    ],
    ['a mapping as a key is refused', '? {a: 1}\n: 1\n', ['recipes/x.yaml:1:3 expected a key of plain text']],
  ];
  it.each(cases)('%s', (_title, text, expected) => {
    expect(faults(text)).toEqual(expected);
  });

  it('are reported all at once, in the order of the file, with their number', () => {
    const text = `${BASE}train: {batchSize: 0, learningRate: fast}\nsede: 1\nlora: {rank: 0}\n`;
    expect(() => load(text)).toThrow(/^4 faults in the config\n/);
    expect(faults(text).map((fault) => fault.split(' ')[1])).toEqual([
      'train.batchSize:',
      'train.learningRate:',
      'sede:',
      'lora.rank:',
    ]);
  });

  it('never print a token that was pasted where a variable name belongs', () => {
    const [fault] = faults(
      'model: {source: {hub: a/b, tokenEnv: hf_SECRETsecretSECRET}}\ndata: {source: {registry: movielens-100k}}\n',
    );
    expect(fault).toContain('never the token itself');
    expect(fault).not.toContain('SECRET');
  });

  it('refuse aliases, so that a small file cannot grow', () => {
    const bomb = `a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n`;
    expect(faults(bomb)[0]).toBe('recipes/x.yaml:1:7 anchors and aliases (`&a`, `*a`) are not allowed in a recipe');
  });

  it.each([40, 100_000])('refuse %i levels of nesting', (levels) => {
    expect(faults(`a: ${'['.repeat(levels)}${']'.repeat(levels)}\n`).join()).toContain('nested deeper than 32 levels');
  });

  it('refuse a file over 1 MiB, a folder, a missing file and bytes that are not UTF-8', () => {
    expect(() => load(`${BASE}# ${'x'.repeat(1024 * 1024)}`)).toThrow('expected at most 1048576 bytes');
    expect(() => loadConfigFile('recipes', { cwd: root })).toThrow('found a folder');
    expect(() => loadConfigFile('none.yaml', { cwd: root })).toThrow('none.yaml: no such file');
    expect(() => load(Buffer.from([0x61, 0x3a, 0xff]))).toThrow('not UTF-8');
  });
});

describe('overrides', () => {
  const set = (...overrides: string[]) => load(BASE, { overrides });

  it('are typed by the schema', () => {
    const config = set(
      'train.learningRate=1e-3',
      'name=007',
      'evaluation.ks=1,3',
      'evaluation.zeroShot=false',
      'tags=a,b',
    );
    expect(config.train.learningRate).toBe(0.001);
    expect(config.name).toBe('007');
    expect(config.evaluation).toMatchObject({ ks: [1, 3], zeroShot: false });
    expect(config.tags).toEqual(['a', 'b']);
  });

  it('take null, lists and mappings in flow form, and the last one wins', () => {
    const config = set('data.ratingMin=4', 'data.ratingMin=null', 'evaluation.ks=[2, 4]', 'soft={curriculumAlpha: 3}');
    expect(config.data.ratingMin).toBeNull();
    expect(config.evaluation.ks).toEqual([2, 4]);
    expect(config.soft.curriculumAlpha).toBe(3);
  });

  it('replace the kind of a source', () => {
    expect(set('data.source.planted.users=9').data.source).toMatchObject({ planted: { users: 9 } });
  });

  it('resolve their own paths from the working directory', () => {
    const config = set('data.source.csv.interactions=data/ratings.csv', 'data.source.csv.items=data/items.csv');
    expect(config.data.source).toMatchObject({ csv: { items: join(root, 'data', 'items.csv') } });
  });

  it.each([
    ['soft.curiculumAlpha=1', '-s soft.curiculumAlpha=1: unknown key, did you mean "curriculumAlpha"?'],
    ['train.batchSize=abc', '-s train.batchSize=abc: expected a whole number of 1 or more, got "abc"'],
    ['train.batchSize=', '-s train.batchSize=: expected a whole number of 1 or more, got ""'],
    [
      'train.batchSize.x=1',
      '-s train.batchSize.x=1: train.batchSize: expected a whole number of 1 or more, got a mapping of x',
    ],
    ['evaluation.zeroShot=yes', '-s evaluation.zeroShot=yes: expected true or false, got "yes"'],
    ['evaluation.ks=1,x', '-s evaluation.ks=1,x: evaluation.ks.1: expected a whole number of 1 or more, got "x"'],
    ['novalue', '-s novalue: expected key=value, for instance -s soft.curriculumAlpha=1'],
    ['__proto__.x=1', '-s __proto__.x=1: expected key=value, for instance -s soft.curriculumAlpha=1'],
    [
      'constructor.prototype.x=1',
      '-s constructor.prototype.x=1: expected key=value, for instance -s soft.curriculumAlpha=1',
    ],
    ['soft={a: *x}', '-s soft={a: *x}: anchors and aliases (`&a`, `*a`) are not allowed in a recipe'],
  ])('name the option when %s is wrong', (option, expected) => {
    expect(faults(BASE, { overrides: [option] })).toEqual([expected]);
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  });
});
