import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyModel, writeTinyModel } from '../../model/tiny-model.ts';
import { openTokenizer } from '../../model/tokenizer.ts';
import { openWeights } from '../../model/weights.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'softflow-tiny-'));
});
afterAll(() => rm(root, { recursive: true }));

async function digests(folder: string): Promise<Record<string, string>> {
  const files = (await readdir(folder)).sort();
  const rows = files.map(async (name) => {
    const hash = createHash('sha256').update(await readFile(join(folder, name)));
    return [name, hash.digest('hex')] as const;
  });
  return Object.fromEntries(await Promise.all(rows));
}

test('the same options write the same bytes, another seed other weights only', async () => {
  const write = async (name: string, seed: number) => {
    await writeTinyModel(join(root, name), { seed });
    return digests(join(root, name));
  };
  const first = await write('a', 7);
  expect(await write('b', 7)).toEqual(first);
  const { 'model.safetensors': other, ...rest } = await write('c', 8);
  expect(first).toMatchObject(rest);
  expect(other).not.toBe(first['model.safetensors']);
});

test('the default weights are the same on every machine', () => {
  const { data } = tinyModel({ seed: 1 }).weights.get('model.layers.1.mlp.down_proj.weight') as { data: Float32Array };
  expect(createHash('sha256').update(new Uint8Array(data.buffer)).digest('hex')).toBe(
    '406c1668302700266c85a73144a345d5a3858633bc66c8319355df305bbef844',
  );
});

test('matrices have variance 1 / inputs, norms lie near 1, and no two weights are alike', () => {
  const { weights } = tinyModel({ hiddenSize: 128 });
  const seen = new Set<string>();
  for (const [name, { shape, data }] of weights) {
    const [, inputs] = shape;
    const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
    const variance = data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length;
    if (inputs === undefined) expect(Math.abs(mean - 1), name).toBeLessThan(0.05);
    else {
      expect(Math.abs(mean) * Math.sqrt(inputs), name).toBeLessThan(0.05);
      expect(Math.abs(variance * inputs - 1), name).toBeLessThan(0.05);
    }
    seen.add(data.subarray(0, 8).join());
  }
  expect(seen.size).toBe(weights.size);
});

test('a model of any shape opens with its tokenizer, which encodes any text and knows its end', async () => {
  const folder = join(root, 'shape');
  await writeTinyModel(folder, { hiddenSize: 48, layers: 3, heads: 6, kvHeads: 2, ffnSize: 80, vocabSize: 300 });
  const { config } = await openWeights({ folder });
  expect(config).toMatchObject({
    hiddenSize: 48,
    layers: 3,
    heads: 6,
    kvHeads: 2,
    headSize: 8,
    ffnSize: 80,
    vocabSize: 300,
  });
  const tokenizer = await openTokenizer({ folder }, config);
  expect(tokenizer).toMatchObject({ eosTokenId: 0, addBos: false, vocabSize: 300 });
  const text = '### Response:\n"Amélie \u0000 日本"';
  expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  expect(tokenizer.encode('The user has watched').length).toBeLessThan(12);
});

test('a vocabulary of 257 has no merges: one token a byte', async () => {
  const folder = join(root, 'bytes');
  await writeTinyModel(folder, { vocabSize: 257 });
  const { config } = await openWeights({ folder });
  expect((await openTokenizer({ folder }, config)).encode('abc')).toHaveLength(3);
});
