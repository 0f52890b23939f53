import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { writeTinyModel } from '../../model/tiny-model.ts';
import type { RunConfigInput } from '../../workflows/run-config.ts';

/**
 * A run of the whole method on a tiny random model and a planted catalogue: seconds on two cores, yet it learns, so that
 * equal bytes mean something. LoRA on every projection, because a random model has no layer that knows more than others.
 *
 * @param folder where the model's files are written
 */
export async function tinyRun(folder: string, change: Partial<RunConfigInput> = {}): Promise<RunConfigInput> {
  const model = join(folder, 'tiny-model');
  // Written once: other runs of the test may be reading it.
  if (!existsSync(model))
    await writeTinyModel(model, { hiddenSize: 64, layers: 2, heads: 4, kvHeads: 2, ffnSize: 128, vocabSize: 512 });
  return {
    name: 'tiny',
    model: { source: { folder: model } },
    data: {
      source: { planted: { series: 30, minParts: 3, maxParts: 5, users: 80, seriesPerUser: 4, skip: 0.05, seed: 1 } },
      kCore: 2,
      samples: { train: 64, valid: 16, test: 32 },
    },
    lora: { targets: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'] },
    train: { batchSize: 16, microBatchSize: 4, learningRate: 3e-3, warmupSteps: 2, maxEpochs: 2, patience: 2 },
    soft: { curriculumAlpha: 50, distancePrompts: 32 },
    generation: { beamWidth: 4, maxNewTokens: 12, tileRows: 8 },
    encode: { tileRows: 32 },
    evaluation: { ks: [1, 5, 10] },
    checkpoint: { every: 0.05 },
    ...change,
  };
}
