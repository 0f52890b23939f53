import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfigFile } from '../../cli/config-file.ts';
import { configJsonSchema, type JsonSchema } from '../../cli/config-schema.ts';
import { SoftflowError } from '../../errors.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { expectSafeReader, FUZZ_TIMEOUT_MS } from '../support/fuzz.ts';

const root = mkdtempSync(join(tmpdir(), 'softflow-hostile-'));
mkdirSync(join(root, 'recipes'));
afterAll(() => rmSync(root, { recursive: true }));
const file = join(root, 'recipes', 'x.yaml');

function load(text: string | Uint8Array, overrides: string[] = []) {
  writeFileSync(file, text);
  return loadConfigFile(file, { cwd: root, env: {}, overrides });
}

/** The faults of a config that must have some. */
function faults(text: string): string[] {
  try {
    load(text);
  } catch (error) {
    if (error instanceof SoftflowError && error.code === 'CONFIG_INVALID') return error.details['faults'] as string[];
    throw error;
  }
  throw new Error(`accepted: ${text}`);
}

type Path = readonly string[];

/** Every key of a recipe by its path; of a union the keys of every variant. */
function paths(schema: JsonSchema, prefix: Path = []): { path: Path; schema: JsonSchema }[] {
  return (schema.anyOf ?? [schema]).flatMap((variant) =>
    Object.entries(variant.properties ?? {}).flatMap(([key, child]) => {
      const path = [...prefix, key];
      return [{ path, schema: child }, ...paths(child, path)];
    }),
  );
}

const SOURCES = {
  model: { source: { registry: 'smollm2-135m-instruct' } },
  data: { source: { registry: 'movielens-100k' } },
};

/** A config that is whole but for `value` at `path`. JSON is YAML. */
function configWith(path: Path, value: unknown): string {
  const config: Record<string, unknown> = structuredClone(SOURCES);
  let node = config;
  for (const key of path.slice(0, -1)) {
    const next = key in node && key !== 'source' ? node[key] : {};
    node[key] = next;
    node = next as Record<string, unknown>;
  }
  Object.defineProperty(node, path.at(-1) as string, { value, enumerable: true });
  return JSON.stringify(config, null, 2);
}

/** What no key of a recipe takes. */
const WRONG: unknown[] = [[[]], { nobody: 1 }, -1e308, '\u001b[31m\u0000', [null], false];

/** Whether a value is of a type that the schema takes. */
function takes(schema: JsonSchema, value: unknown): boolean {
  const types = [schema.type ?? []].flat();
  if (typeof value === 'number') return types.includes('number') && schema.minimum === undefined;
  return types.includes(typeof value) && value !== null && typeof value !== 'object';
}

/** A key that chooses no kind of source is named behind the path of the source. */
function names(found: string, path: Path): boolean {
  const kindless = new RegExp(
    `${path.slice(0, -1).join('\\.')}: expected a mapping with exactly one of .*, got ${path.at(-1)}`,
  );
  return found.includes(path.join('.')) || kindless.test(found);
}

describe('a config that is wrong', () => {
  it('names the path of the fault, in 500 of them (S11)', (context) => {
    const cases = paths(configJsonSchema()).flatMap(({ path, schema }) => {
      const wrong = WRONG.filter((value) => !takes(schema, value));
      return [
        ...wrong.map((value) => ({ path, value })),
        { path: [...path.slice(0, -1), `${path.at(-1)}x`], value: 1 },
      ];
    });
    const unnamed: string[] = [];
    for (const { path, value } of cases) {
      const found = faults(configWith(path, value)).join('\n');
      if (!names(found, path) || !/^(?:\d+ faults[^\n]*\n)?recipes\/x\.yaml:\d+:\d+ /.test(found))
        unnamed.push(`${path.join('.')} = ${JSON.stringify(value)}: ${found}`);
    }
    expect(unnamed).toEqual([]);
    expect(cases.length).toBeGreaterThanOrEqual(500);
    faultFigure(context, cases.length, `${cases.length} wrong configs, each fault with its path and place`);
  });

  it.each(['__proto__', 'constructor', 'prototype'])(
    'is refused with the key %s anywhere, and pollutes nothing (S11)',
    (key) => {
      for (const path of [[key], ['train', key], ['data', 'title', key], ['model', 'source', key]])
        expect(faults(configWith(path, { polluted: true })).join()).toContain(key);
      expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    },
  );

  it('never prints a secret that stands where the name of a variable belongs, in a recipe or an option (S5)', () => {
    const secret = 'hf_CANARYcanary0123456789';
    const hub = JSON.stringify({ ...SOURCES, model: { source: { hub: 'a/b', tokenEnv: secret } } });
    const messages = [
      () => load(hub),
      () => load(JSON.stringify(SOURCES), [`model.source.tokenEnv=${secret}`]),
      () => load(JSON.stringify(SOURCES), ['model.source.hub=a/b', `model.source.tokenEnv=${secret}`]),
      () => load(JSON.stringify(SOURCES), [`model.source={hub: a/b, tokenEnv: ${secret}}`]),
      () => load(JSON.stringify(SOURCES), [`model.source.tokenEnv=${secret}`, 'train.batchSize=x']),
    ].map((attempt) => {
      try {
        attempt();
      } catch (error) {
        return JSON.stringify([(error as Error).message, (error as SoftflowError).details]);
      }
      throw new Error('accepted');
    });
    for (const message of messages) {
      expect(message).toContain('tokenEnv');
      expect(message).not.toContain('CANARY');
    }
  });
});

describe('a config at its caps', () => {
  it('is read with 1 MiB and 32 levels, and refused with one more (S3)', () => {
    const text = JSON.stringify(SOURCES);
    const padded = (bytes: number) => `${text}\n#${'x'.repeat(bytes - text.length - 2)}`;
    expect(load(padded(2 ** 20)).config.seed).toBe(42);
    expect(() => load(padded(2 ** 20 + 1))).toThrow(/at most 1048576 bytes, found 1048577/);
    const nested = (levels: number) => `name: ${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}\n`;
    expect(faults(nested(32)).join()).not.toContain('nested deeper');
    expect(faults(nested(33)).join()).toContain('nested deeper than 32 levels');
  });
});

describe('mutations of a recipe', () => {
  it('give a SoftflowError or a config: YAML and JSON (S1)', { timeout: FUZZ_TIMEOUT_MS }, async (context) => {
    const yaml = Buffer.from(`# a comment\nname: "demo"\nmodel:\n  source: { registry: smollm2-135m-instruct }
data: {source: {registry: movielens-100k}, title: {year: strip}}\ntrain:\n  learningRate: 2e-3\nevaluation:\n  ks:\n    - 1\n    - 10\n`);
    const json = Buffer.from(JSON.stringify({ ...SOURCES, train: { batchSize: 16 }, tags: ['a'] }));
    await expectSafeReader(context, {
      whole: [
        { bytes: yaml, header: [0, yaml.length] },
        { bytes: json, header: [0, json.length] },
      ],
      read: (bytes) => load(bytes),
      classes: {
        'an unknown key': /unknown key/,
        'a wrong value': /expected [^\n]*, got/,
        'a missing section': /missing; expected/,
        'a key written twice': /written twice/,
        'a tag': /tags \(/,
        'an anchor or alias': /anchors and aliases/,
        'no YAML': /not valid YAML/,
        'not UTF-8': /not UTF-8/,
        'no mapping': /expected a mapping of keys/,
      },
    });
  });
});
