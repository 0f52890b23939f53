import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AdapterParameters, initialAdapter } from '../../model/lora.ts';
import { addLowRank, writeMergedModel } from '../../model/merge.ts';
import { parseModelConfig } from '../../model/model-config.ts';
import { encodeModelConfig } from '../../model/model-config-json.ts';
import { tinyModel, writeTinyModel } from '../../model/tiny-model.ts';
import { openTokenizer } from '../../model/tokenizer.ts';
import { openWeights } from '../../model/weights.ts';

const folder = mkdtempSync(join(tmpdir(), 'softflow-merge-'));
const source = { folder: join(folder, 'base') };
beforeAll(() => writeTinyModel(source.folder));
afterAll(() => rmSync(folder, { recursive: true }));

const { config } = tinyModel();
const Q = 'model.layers.0.self_attn.q_proj.weight';

/** An adapter on q of both layers whose B is all ones. */
function adapter(): AdapterParameters {
  const parameters = initialAdapter(config, { rank: 2, loraAlpha: 4, dropout: 0, targets: ['q_proj'] }, 1);
  for (const [name, { data }] of parameters) if (name.includes('lora_B')) data.fill(1);
  return parameters;
}

describe('addLowRank', () => {
  it('adds scale B A to the weight', () => {
    const a = { shape: [1, 2] as [number, number], data: Float32Array.of(2, 3) };
    const b = { shape: [3, 1] as [number, number], data: Float32Array.of(1, 0, -1) };
    expect([...addLowRank(Float32Array.of(1, 1, 1, 1, 1, 1), { a, b }, 0.5)]).toEqual([2, 2.5, 1, 1, 0, -0.5]);
  });
});

describe('writeMergedModel', () => {
  it('writes a model that opens again: changed where the adapter is, the same bits elsewhere', async () => {
    const merged = { folder: mkdtempSync(join(folder, 'merged-')) };
    const files = await openWeights(source);
    const weightBytes = await writeMergedModel({ source, files, adapter: adapter(), scale: 2, folder: merged.folder });
    const opened = await openWeights(merged);
    expect(opened.config).toEqual(files.config);
    let bytes = 0;
    for (const name of files.names) {
      const [before, after] = [(await files.tensor(name)).data, (await opened.tensor(name)).data];
      bytes += after.byteLength;
      if (name.includes('q_proj')) expect(after).not.toEqual(before);
      else expect(after).toEqual(before);
    }
    expect(weightBytes).toBe(bytes);
    const a = adapter().get('base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight')?.data as Float32Array;
    const expected = (await files.tensor(Q)).data[0]! + 2 * (a[0]! + a[config.hiddenSize]!);
    expect((await opened.tensor(Q)).data[0]).toBeCloseTo(expected, 6);
    const ids = (await openTokenizer(source, config)).encode('"The Story"');
    expect((await openTokenizer(merged, config)).encode('"The Story"')).toEqual(ids);
  });

  it('spreads weights over shards with an index when they are too large for one file', async () => {
    const merged = { folder: mkdtempSync(join(folder, 'sharded-')) };
    const files = await openWeights(source);
    await writeMergedModel({ source, files, adapter: adapter(), scale: 2, folder: merged.folder, shardBytes: 100_000 });
    const names = readdirSync(merged.folder).filter((name) => name.endsWith('.safetensors'));
    expect(names.length).toBeGreaterThan(2);
    expect(names[0]).toBe(`model-00001-of-0000${names.length}.safetensors`);
    expect((await openWeights(merged)).names).toEqual(files.names);
  });

  it('refuses an adapter of another model', async () => {
    const files = await openWeights(source);
    const foreign = new Map([...adapter()].map(([name, value]) => [name.replace('layers.1', 'layers.9'), value]));
    const merging = writeMergedModel({
      source,
      files,
      adapter: foreign,
      scale: 1,
      folder: mkdtempSync(join(folder, 'x-')),
    });
    await expect(merging).rejects.toMatchObject({ code: 'ADAPTER_INVALID' });
  });
});

describe('encodeModelConfig', () => {
  it('is read back as the same shape, and refuses what config.json cannot say', () => {
    const llama3 = {
      type: 'llama3' as const,
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPosition: 8192,
    };
    for (const shape of [
      config,
      { ...config, ropeScaling: llama3 },
      { ...config, ropeScaling: { type: 'linear' as const, factor: 2 } },
      { ...config, architecture: 'mistral' as const, slidingWindow: 32, bosTokenId: 1, eosTokenIds: [0, 2] },
      { ...config, architecture: 'qwen3' as const, qkNorm: true, tiedEmbeddings: false },
    ])
      expect(parseModelConfig(encodeModelConfig(shape, 'x'))).toEqual(shape);
    const factors = { ...config, ropeScaling: { type: 'factors' as const, factors: [1] } };
    expect(() => encodeModelConfig(factors, 'model.gguf')).toThrow(/model\.gguf gives each rotary frequency/);
  });
});
