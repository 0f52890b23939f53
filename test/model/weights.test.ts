import { readFileSync } from 'node:fs';
import { appendFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { decodeSafetensors, encodeSafetensors, type SafetensorsValue } from '../../model/safetensors.ts';
import { tinyModel, writeTinyModel } from '../../model/tiny-model.ts';
import { openTokenizer } from '../../model/tokenizer.ts';
import { huggingFaceName, type ModelFiles, openWeights } from '../../model/weights.ts';
import { expectFailure } from './expect-failure.ts';
import { encodeGguf, float32Tensor } from './gguf-writer.ts';
import { findSmollm2 } from './smollm2-file.ts';
import { tinyGguf, tinyGgufDraft } from './tiny-gguf.ts';

const smollm2 = await findSmollm2();

let root: string;
let folder: string;
let number = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'softflow-weights-'));
});
beforeEach(() => {
  folder = join(root, String(number++));
});
afterAll(() => rm(root, { recursive: true }));

async function allTensors(files: ModelFiles): Promise<Map<string, Float32Array>> {
  const tensors = new Map<string, Float32Array>();
  for (const name of files.names) tensors.set(name, (await files.tensor(name)).data);
  return tensors;
}

describe('one model', () => {
  const expected = new Map([...tinyModel().weights].map(([name, { data }]) => [name, data]));

  test('reads the same from one file, from shards and from GGUF', async () => {
    await writeTinyModel(join(folder, 'one'));
    await writeTinyModel(join(folder, 'three'), { shards: 3 });
    await writeFile(join(folder, 'tiny.gguf'), tinyGguf());
    const sources = [
      { folder: join(folder, 'one') },
      { folder: join(folder, 'three') },
      { gguf: join(folder, 'tiny.gguf') },
    ];
    const opened = await Promise.all(sources.map(openWeights));
    for (const files of opened) {
      expect(await allTensors(files)).toEqual(expected);
      expect(files.config).toEqual(tinyModel().config);
      const { shape } = await files.tensor('model.layers.1.mlp.down_proj.weight');
      expect(shape).toEqual([64, 128]);
    }
    expect(new Set(opened.map((files) => files.digest)).size).toBe(3);
  });

  test('has the tokenizer of its folder in its GGUF', async () => {
    await writeTinyModel(folder);
    const gguf = join(folder, 'tiny.gguf');
    await writeFile(gguf, tinyGguf());
    const { config } = await openWeights({ gguf });
    const text = 'The user has watched "Amélie" <|endoftext|> 007';
    const fromGguf = await openTokenizer({ gguf }, config);
    expect(fromGguf.encode(text)).toEqual((await openTokenizer({ folder }, config)).encode(text));
    expect(fromGguf.eosTokenId).toBe(0);
  });

  test('keeps its digest until a byte of it changes', async () => {
    await writeTinyModel(folder);
    const { digest } = await openWeights({ folder });
    await rename(folder, `${folder}-moved`);
    expect((await openWeights({ folder: `${folder}-moved` })).digest).toBe(digest);
    await appendFile(join(`${folder}-moved`, 'config.json'), ' ');
    expect((await openWeights({ folder: `${folder}-moved` })).digest).not.toBe(digest);
  });
});

interface GoldenWeight {
  shape: number[];
  norm: number;
  slice: number[];
}

test.skipIf(!smollm2)('weights of SmolLM2 are those that transformers reads from the GGUF', async () => {
  const path = new URL('../reference/golden/weights-smollm2.json', import.meta.url);
  const { tensors } = JSON.parse(readFileSync(path, 'utf8')) as { tensors: Record<string, GoldenWeight> };
  const files = await openWeights({ gguf: smollm2 as string });
  expect(files.config).toMatchObject({ architecture: 'llama', layers: 30, heads: 9, kvHeads: 3, normEps: 1e-5 });
  for (const [name, golden] of Object.entries(tensors)) {
    const { shape, data } = await files.tensor(name);
    expect(shape, name).toEqual(golden.shape);
    expect([...data.subarray(0, 16)], name).toEqual(golden.slice.map(Math.fround));
    let squares = 0;
    for (const value of data) squares += value * value;
    expect(Math.sqrt(squares) / golden.norm, name).toBeCloseTo(1, 9);
  }
});

describe('a folder that does not fit its config', () => {
  const change = async (edit: (tensors: Map<string, SafetensorsValue>) => void) => {
    await writeTinyModel(folder);
    const path = join(folder, 'model.safetensors');
    const { tensors } = await decodeSafetensors(await readFile(path));
    edit(tensors);
    await writeFile(path, encodeSafetensors(tensors));
    return () => openWeights({ folder });
  };
  const bias: SafetensorsValue = { dtype: 'F32', shape: [64], data: new Float32Array(64) };

  test('with a weight missing', async () => {
    const open = await change((tensors) => tensors.delete('model.layers.1.self_attn.v_proj.weight'));
    await expectFailure(
      open,
      'MODEL_MISMATCH',
      /lacks weights\. Expected: model\.layers\.1\.self_attn\.v_proj\.weight/,
    );
  });

  test('with a weight too many', async () => {
    const open = await change((tensors) => tensors.set('model.layers.0.self_attn.q_proj.bias', bias));
    await expectFailure(open, 'MODEL_MISMATCH', /Received: model\.layers\.0\.self_attn\.q_proj\.bias/);
  });

  test('with a layer too many', async () => {
    const open = await change((tensors) => tensors.set('model.layers.2.input_layernorm.weight', bias));
    await expectFailure(open, 'MODEL_MISMATCH', /Received: model\.layers\.2/);
  });

  test('with a weight of another shape', async () => {
    const open = await change((tensors) => tensors.set('model.norm.weight', { ...bias, shape: [8, 8] }));
    await expectFailure(open, 'MODEL_MISMATCH', /model\.norm\.weight.*Expected: \[64\]\. Received: \[8,8\]/);
  });

  test('but copies of tied heads and old rotary buffers are passed over', async () => {
    const open = await change((tensors) => {
      tensors.set('lm_head.weight', tensors.get('model.embed_tokens.weight') as SafetensorsValue);
      tensors.set('model.layers.0.self_attn.rotary_emb.inv_freq', { ...bias, shape: [8, 8] });
    });
    expect((await open()).names).not.toContain('lm_head.weight');
  });

  test('with a number that is not finite', async () => {
    const open = await change((tensors) => {
      (tensors.get('model.norm.weight') as SafetensorsValue).data[7] = Number.NaN;
    });
    const files = await open();
    await expectFailure(
      () => files.tensor('model.norm.weight'),
      'MODEL_NOT_FINITE',
      /model\.norm\.weight holds NaN at element 7/,
    );
    await expectFailure(() => files.tensor('model.norm.bias'), 'MODEL_MISMATCH', /no weight model\.norm\.bias/);
  });

  test('with shards and an index that disagree', async () => {
    await writeTinyModel(folder, { shards: 2 });
    const path = join(folder, 'model.safetensors.index.json');
    const index = JSON.parse(await readFile(path, 'utf8'));
    const put = async (name: string, file: string) => {
      const weight_map = { ...index.weight_map, [name]: file };
      await writeFile(path, JSON.stringify({ weight_map }));
    };
    const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
    await put('model.norm.weight', shards.find((shard) => shard !== index.weight_map['model.norm.weight']) as string);
    await expectFailure(() => openWeights({ folder }), 'MODEL_MISMATCH', /holds model\.norm\.weight/);
    await put('model.extra.weight', shards[0] as string);
    await expectFailure(() => openWeights({ folder }), 'MODEL_MISMATCH', /lacks model\.extra\.weight/);
    await put('model.norm.weight', '../outside.safetensors');
    await expectFailure(() => openWeights({ folder }), 'MODEL_MISMATCH', /plain \.safetensors file name/);
    await writeFile(path, '{}');
    await expectFailure(() => openWeights({ folder }), 'MODEL_MISMATCH', /weight_map/);
  });
});

describe('files that are refused', () => {
  const withFile = async (name: string, content: string | Uint8Array) => {
    await writeTinyModel(folder);
    await rm(join(folder, 'model.safetensors'));
    await writeFile(join(folder, name), content);
    return () => openWeights({ folder });
  };

  test.each([
    'pytorch_model.bin',
    'model.pt',
    'consolidated.00.pth',
    'weights.ckpt',
    'weights.PKL',
    'w.joblib',
    'w.npz',
  ])('pickle by its name: %s (S4)', async (name) => {
    await expectFailure(await withFile(name, 'x'), 'MODEL_UNSUPPORTED', /is a pickle file.*Convert it/);
  });

  test.each([
    ['model.ipynb', 'Python code'],
    ['modeling_custom.py', 'Python code'],
    ['model.keras', 'a Keras file'],
  ])('a model file that can run code: %s (S4)', async (name, kind) => {
    await mkdir(folder, { recursive: true });
    await expectFailure(
      () => openWeights({ gguf: join(folder, name) }),
      'MODEL_UNSUPPORTED',
      new RegExp(`is ${kind}, which can run code`),
    );
  });

  test('pickle by its bytes, whatever its name (S4)', async () => {
    const zip = Buffer.from('504b0304140000000000', 'hex');
    const bare = Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex');
    for (const bytes of [zip, bare]) {
      await expectFailure(await withFile('model.safetensors', bytes), 'MODEL_UNSUPPORTED', /is a pickle file/);
      const gguf = join(folder, 'model.gguf');
      await writeFile(gguf, bytes);
      await expectFailure(() => openWeights({ gguf }), 'MODEL_UNSUPPORTED', /is a pickle file/);
    }
  });

  test('a folder without weights, and one that is not there', async () => {
    await mkdir(folder);
    await expectFailure(() => openWeights({ folder }), 'MODEL_FILE_MISSING', /config\.json does not exist/);
    await expectFailure(await withFile('notes.txt', ''), 'MODEL_FILE_MISSING', /no weights.*notes\.txt/);
    await expectFailure(() => openWeights({ folder: join(folder, 'no') }), 'MODEL_FILE_MISSING', /ENOENT/);
    await expectFailure(() => openWeights({ gguf: folder }), 'MODEL_FILE_MISSING', /not a file/);
  });

  test('a safetensors file under the name of a GGUF file', async () => {
    await writeTinyModel(folder);
    await expectFailure(() => openWeights({ gguf: join(folder, 'model.safetensors') }), 'MODEL_FILE_DAMAGED', /magic/);
  });
});

describe('a GGUF file', () => {
  test('with Llama 3 rope factors hands them on, and refuses factors that do not fit the heads', async () => {
    await mkdir(folder);
    const gguf = join(folder, 'tiny.gguf');
    const draft = tinyGgufDraft();
    const write = (count: number) =>
      writeFile(
        gguf,
        encodeGguf({
          ...draft,
          tensors: [...draft.tensors, float32Tensor('rope_freqs.weight', [count], new Float32Array(count).fill(2))],
        }),
      );
    await write(8);
    const { config } = await openWeights({ gguf });
    expect(config.ropeScaling).toEqual({ type: 'factors', factors: [2, 2, 2, 2, 2, 2, 2, 2] });
    await write(9);
    await expectFailure(() => openWeights({ gguf }), 'MODEL_CONFIG_INVALID', /9 rope factors for head size 16/);
  });

  test('with a tensor that no name here fits is refused', async () => {
    await mkdir(folder);
    const gguf = join(folder, 'tiny.gguf');
    const draft = tinyGgufDraft();
    const extra = float32Tensor('blk.0.ffn_gate_inp.weight', [4], new Float32Array(4));
    await writeFile(gguf, encodeGguf({ ...draft, tensors: [...draft.tensors, extra] }));
    await expectFailure(() => openWeights({ gguf }), 'MODEL_MISMATCH', /blk\.0\.ffn_gate_inp\.weight/);
  });

  test('has names of the prototype for nothing', () => {
    expect(huggingFaceName('toString')).toBe('toString');
    expect(huggingFaceName('blk.0.constructor.weight')).toBe('blk.0.constructor.weight');
    expect(huggingFaceName('blk.12.attn_q_norm.weight')).toBe('model.layers.12.self_attn.q_norm.weight');
  });
});
