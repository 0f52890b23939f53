import type { Rotation } from './kernels.ts';
import type { ModelConfig, RopeScaling } from './model-config.ts';
import { tf } from './tf.ts';

/**
 * Inverse frequencies of RoPE, [headSize / 2], stretched as the config asks. Source: Su et al. 2021.
 * Each operation rounds to float32, as in the reference: at position 1,000 the last bit of a frequency is seen.
 */
export function inverseFrequencies(config: ModelConfig): Float32Array {
  const half = config.headSize / 2;
  return Float32Array.from({ length: half }, (_, i) =>
    stretch(Math.fround(1 / Math.fround(config.ropeTheta ** ((2 * i) / config.headSize))), i, config.ropeScaling),
  );
}

function stretch(frequency: number, index: number, scaling: RopeScaling | undefined): number {
  switch (scaling?.type) {
    case undefined:
      return frequency;
    case 'linear':
      return frequency / scaling.factor;
    case 'factors':
      return frequency / (scaling.factors[index] as number);
    case 'llama3':
      return stretchLlama3(frequency, scaling);
  }
}

/** Long wavelengths are stretched by `factor`, short ones kept, those between blended. Source: the Llama 3 reference. */
function stretchLlama3(frequency: number, scaling: Extract<RopeScaling, { type: 'llama3' }>): number {
  const { factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPosition } = scaling;
  const turns = (originalMaxPosition * frequency) / (2 * Math.PI);
  if (turns < low) return frequency / factor;
  if (turns > high) return frequency;
  const smooth = (turns - low) / (high - low);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

/** cos and sin of each token's angles for the given positions, [t, headSize / 2]. */
export function rotationAt(positions: Int32Array, frequencies: Float32Array): Rotation {
  const half = frequencies.length;
  const cos = new Float32Array(positions.length * half);
  const sin = new Float32Array(positions.length * half);
  for (let t = 0; t < positions.length; t++)
    for (let i = 0; i < half; i++) {
      const angle = Math.fround((positions[t] as number) * (frequencies[i] as number));
      cos[t * half + i] = Math.cos(angle);
      sin[t * half + i] = Math.sin(angle);
    }
  const rotation = { cos: tf.tensor2d(cos, [positions.length, half]), sin: tf.tensor2d(sin, [positions.length, half]) };
  return { ...rotation, dispose: () => tf.dispose(rotation) };
}
