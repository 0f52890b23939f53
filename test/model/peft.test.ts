import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { AdapterParameters, LoraConfig } from '../../model/lora.ts';
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, decodePeftAdapter, encodePeftAdapter } from '../../model/peft.ts';
import { encodeSafetensors, type SafetensorsValue } from '../../model/safetensors.ts';
import { expectFailure } from './expect-failure.ts';

const lora: LoraConfig = { rank: 4, loraAlpha: 16, dropout: 0.05, targets: ['q_proj', 'v_proj'] };
const PREFIX = 'base_model.model.model.layers';

function adapter(): AdapterParameters {
  const parameters: AdapterParameters = new Map();
  for (const layer of [0, 1]) {
    for (const target of lora.targets) {
      const values = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.fround(i / 7 - layer));
      parameters.set(`${PREFIX}.${layer}.self_attn.${target}.lora_A.weight`, { shape: [4, 6], data: values(24) });
      parameters.set(`${PREFIX}.${layer}.self_attn.${target}.lora_B.weight`, { shape: [8, 4], data: values(32) });
    }
  }
  return parameters;
}

let root: string;
let folder: string;
let number = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'softflow-peft-'));
});
beforeEach(async () => {
  folder = join(root, String(number++));
  await mkdir(folder);
});
afterAll(() => rm(root, { recursive: true }));

async function write(files: Map<string, Uint8Array>): Promise<void> {
  for (const [name, bytes] of files) await writeFile(join(folder, name), bytes);
}

test('an adapter comes back as it was written', async () => {
  await write(encodePeftAdapter({ parameters: adapter(), lora, baseModel: 'smollm2' }));
  const read = await decodePeftAdapter(folder);
  expect(read).toEqual({ parameters: new Map([...adapter()].sort()), lora, baseModel: 'smollm2' });
});

test('the same adapter gives the same bytes, whatever the order of its tensors and targets', () => {
  const reversed = new Map([...adapter()].reverse());
  const targets = [...lora.targets].reverse();
  const bytes = encodePeftAdapter({ parameters: adapter(), lora, baseModel: 'm' });
  expect(encodePeftAdapter({ parameters: reversed, lora: { ...lora, targets }, baseModel: 'm' })).toEqual(bytes);
});

test('the config is what PEFT reads', async () => {
  const files = encodePeftAdapter({ parameters: adapter(), lora, baseModel: 'm' });
  const config = JSON.parse(Buffer.from(files.get(ADAPTER_CONFIG) as Uint8Array).toString());
  expect(config).toMatchObject({
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    r: 4,
    lora_alpha: 16,
    lora_dropout: 0.05,
    target_modules: ['q_proj', 'v_proj'],
    bias: 'none',
  });
});

describe('decodePeftAdapter refuses', () => {
  const config = async (changes: object) => {
    await write(encodePeftAdapter({ parameters: adapter(), lora, baseModel: 'm' }));
    const path = join(folder, ADAPTER_CONFIG);
    await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), ...changes }));
    return () => decodePeftAdapter(folder);
  };

  test.each<[string, object, RegExp]>([
    ['another method', { peft_type: 'IA3' }, /peft_type/],
    ['DoRA', { use_dora: true }, /use_dora/],
    ['rank-stabilised scaling', { use_rslora: true }, /use_rslora/],
    ['ranks of single modules', { rank_pattern: { q_proj: 2 } }, /rank_pattern/],
    ['trained biases', { bias: 'all' }, /bias/],
    ['modules saved whole', { modules_to_save: ['lm_head'] }, /modules_to_save/],
    ['targets by a pattern', { target_modules: '.*_proj' }, /target_modules/],
    ['another rank than its tensors', { r: 8 }, /rank 8.*shape \[4,6\]/],
    ['tensors of another target', { target_modules: ['q_proj'] }, /v_proj/],
    ['a target without tensors', { target_modules: ['q_proj', 'v_proj', 'o_proj'] }, /some of o_proj/],
  ])('%s', async (_, changes, message) => {
    await expectFailure(await config(changes), 'ADAPTER_INVALID', message);
  });

  const weights = async (edit: (tensors: Map<string, SafetensorsValue>) => void) => {
    await config({});
    const tensors = new Map<string, SafetensorsValue>(
      [...adapter()].map(([name, { shape, data }]) => [name, { dtype: 'F32', shape, data }]),
    );
    edit(tensors);
    await writeFile(join(folder, ADAPTER_WEIGHTS), encodeSafetensors(tensors));
    return () => decodePeftAdapter(folder);
  };
  const name = `${PREFIX}.1.self_attn.v_proj.lora_B.weight`;

  test('half a pair', async () => {
    await expectFailure(await weights((tensors) => tensors.delete(name)), 'ADAPTER_INVALID', /its other half/);
  });

  test('a number that is not finite', async () => {
    const open = await weights((tensors) => {
      (tensors.get(name) as SafetensorsValue).data[3] = Number.POSITIVE_INFINITY;
    });
    await expectFailure(open, 'ADAPTER_INVALID', /Infinity at element 3/);
  });

  test('a tensor that is no matrix', async () => {
    const open = await weights((tensors) => {
      tensors.set(name, { ...(tensors.get(name) as SafetensorsValue), shape: [32] });
    });
    await expectFailure(open, 'ADAPTER_INVALID', /two dimensions/);
  });

  test('a folder without weights', async () => {
    const open = await config({});
    await rm(join(folder, ADAPTER_WEIGHTS));
    await expectFailure(open, 'MODEL_FILE_MISSING', /adapter_model\.safetensors does not exist/);
  });

  test('a folder with pickled weights (S4)', async () => {
    const open = await config({});
    await rm(join(folder, ADAPTER_WEIGHTS), { force: true });
    await writeFile(join(folder, 'adapter_model.bin'), 'x');
    await expectFailure(open, 'MODEL_UNSUPPORTED', /adapter_model\.bin is a pickle file.*Convert it/);
    await rm(join(folder, 'adapter_model.bin'));
  });
});

test('encodePeftAdapter refuses an adapter that is not that of its config', async () => {
  const write = () => encodePeftAdapter({ parameters: adapter(), lora: { ...lora, rank: 8 }, baseModel: 'm' });
  await expectFailure(write, 'ADAPTER_INVALID', /rank 8/);
});
