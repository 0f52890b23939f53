import { beforeAll, describe, expect, it } from 'vitest';
import { projectionShape } from '../../model/base-model.ts';
import { adapterNames, initialAdapter, type LoraConfig, uploadAdapter } from '../../model/lora.ts';
import { tf } from '../../model/tf.ts';
import { tinyModel } from '../../model/tiny-model.ts';
import { openTensorflow } from './reference.ts';

const { config } = tinyModel();
const LORA: LoraConfig = { rank: 8, loraAlpha: 16, dropout: 0.05, targets: ['v_proj', 'q_proj', 'down_proj'] };
const A = 'base_model.model.model.layers.1.mlp.down_proj.lora_A.weight';

describe('a fresh adapter', () => {
  const parameters = initialAdapter(config, LORA, 42);

  it('has A and B of every target under the names of PEFT, sorted', () => {
    expect([...parameters.keys()]).toEqual(adapterNames(config, LORA));
    expect(parameters.size).toBe(2 * 3 * 2);
    expect(parameters.get(A)!.shape).toEqual([8, config.ffnSize]);
    expect(parameters.get(A.replace('lora_A', 'lora_B'))!.shape).toEqual([config.hiddenSize, 8]);
  });

  it('has B zero, and A uniform within 1 / sqrt(inputs)', () => {
    for (const [name, { data, shape }] of parameters) {
      if (name.includes('lora_B')) {
        expect(data.every((value) => value === 0)).toBe(true);
        continue;
      }
      const bound = 1 / Math.sqrt(shape[1]);
      expect(Math.max(...data.map(Math.abs))).toBeLessThanOrEqual(bound);
      expect(Math.max(...data)).toBeGreaterThan(0.9 * bound);
      expect(Math.min(...data)).toBeLessThan(-0.9 * bound);
      // A uniform number of +-bound has variance bound^2 / 3.
      const variance = data.reduce((sum, value) => sum + value * value, 0) / data.length;
      expect(variance / (bound * bound)).toBeCloseTo(1 / 3, 1);
    }
  });

  it('is a function of the seed and the tensor name alone, so SFT and SOFT start alike', () => {
    expect(initialAdapter(config, LORA, 42)).toEqual(parameters);
    expect(initialAdapter(config, { ...LORA, targets: ['down_proj'] }, 42).get(A)).toEqual(parameters.get(A));
    expect(initialAdapter({ ...config, layers: 5 }, LORA, 42).get(A)).toEqual(parameters.get(A));
    expect(initialAdapter(config, LORA, 43).get(A)).not.toEqual(parameters.get(A));
    const others = [...parameters].filter(([name]) => name.includes('lora_A')).map(([, { data }]) => data[0]);
    expect(new Set(others).size).toBe(others.length);
  });
});

describe('on the device', () => {
  beforeAll(openTensorflow);

  it('is scaled by loraAlpha / rank, and does not change with the host copy', () => {
    const parameters = initialAdapter(config, LORA, 42);
    const before = tf.memory().numTensors;
    const adapter = uploadAdapter(config, LORA, parameters);
    expect(adapter.scale).toBe(2);
    const { a, b } = adapter.pairs[1]!.down_proj!;
    const { out, in: width } = projectionShape(config, 'down_proj');
    expect([a.shape, b.shape]).toEqual([
      [8, width],
      [out, 8],
    ]);
    const first = parameters.get(A)!.data[0]!;
    expect(a.dataSync()[0]).toBe(first);
    parameters.get(A)!.data.fill(7);
    expect(tf.add(a, 0).dataSync()[0]).toBe(first);
    adapter.dispose();
    expect(tf.memory().numTensors - before).toBe(1); // the sum above
  });

  it('names the tensor that an adapter lacks', () => {
    const parameters = initialAdapter(config, LORA, 42);
    parameters.delete(A);
    expect(() => uploadAdapter(config, LORA, parameters)).toThrow(A);
  });
});
