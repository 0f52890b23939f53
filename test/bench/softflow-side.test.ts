import { describe, expect, it } from 'vitest';
import { Clock, clocked } from '../../bench/profile.ts';
import { lossWeights, normOf } from '../../bench/softflow-bench.ts';
import { benchAdapter } from '../../bench/work.ts';
import type { Kernels } from '../../model/kernels.ts';
import type { ModelConfig } from '../../model/model-config.ts';

const config = { layers: 1, hiddenSize: 8, heads: 2, kvHeads: 1, headSize: 4, ffnSize: 16 } as ModelConfig;
const lora = { rank: 2, loraAlpha: 4, dropout: 0, targets: ['q_proj', 'v_proj'] };

describe('the work of the benchmark', () => {
  it('has an adapter that changes the loss: neither half is zero', () => {
    const parameters = benchAdapter(config, lora, 42);
    expect(parameters.size).toBe(4);
    for (const { data } of parameters.values()) {
      expect(normOf([data])).toBeGreaterThan(0.01);
      expect(data.every(Number.isFinite)).toBe(true);
    }
    expect(benchAdapter(config, lora, 42)).toEqual(parameters);
  });

  it('weighs y and y-hat by their own number of tokens', () => {
    const sample = { windowId: 'a', prompt: [1], titleRow: 0 };
    const samples = [
      { ...sample, target: [1, 2, 3], distilled: [1, 2] },
      { ...sample, target: [1], distilled: [1, 2, 3] },
    ];
    expect(lossWeights(samples, 0.25)).toEqual({ target: 0.75 / 4, distilled: 0.25 / 5 });
  });

  it('takes the norm of all gradients together', () => {
    expect(normOf([Float32Array.of(3, 0), Float32Array.of(4)])).toBe(5);
  });
});

describe('the profile', () => {
  it('counts a kernel’s calls and operations, by the shape of its matrix', () => {
    const clock = new Clock();
    const kernels = clocked(
      {
        name: 'fake',
        linear: (x: unknown) => clock.op('MatMul', () => x),
        swiGlu: (gate: unknown) => clock.op('Mul', () => gate),
      } as unknown as Kernels,
      clock,
    );
    const x = { shape: [10, 8] } as never;
    expect(kernels.name).toBe('fake');
    const matrices = [
      { in: 8, out: 4 },
      { in: 8, out: 2 },
    ] as never;
    kernels.linear(x, matrices);
    expect(clock.kernels.size).toBe(0);
    clock.start();
    expect(kernels.linear(x, matrices)).toBe(x);
    kernels.linear(x, matrices);
    kernels.swiGlu(x, x);
    clock.op('Add', () => 0);
    clock.stop();
    const linear = clock.kernels.get('linear 8 -> 4 + 2')!;
    expect(linear.calls).toBe(2);
    expect(linear.flops).toBe(2 * 2 * 10 * 8 * 6);
    expect(linear.ops.get('MatMul')!.calls).toBe(2);
    expect(clock.kernels.get('swiGlu')!.calls).toBe(1);
    expect(clock.kernels.get('outside kernels')!.ops.get('Add')!.calls).toBe(1);
  });
});
