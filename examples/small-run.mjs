// The run that these examples share, so that whichever comes second finds most of its steps done: minutes at most on two cores.
import { defineRun } from 'softflow';

/** @param {string | undefined} modelFolder a Hugging Face model; without one SmolLM2-135M-Instruct, which is fetched at first use */
export function smallRun(modelFolder, change = {}) {
  return defineRun({
    name: 'example',
    model: { source: modelFolder ? { folder: modelFolder } : { registry: 'smollm2-135m-instruct' } },
    data: {
      source: { planted: { series: 10, users: 30, seriesPerUser: 3 } },
      kCore: 1,
      samples: { train: 16, valid: 4, test: 4 },
    },
    train: { batchSize: 4, microBatchSize: 4, maxEpochs: 1, learningRate: 2e-3 },
    soft: { distancePrompts: 4 },
    generation: { maxNewTokens: 8, beamWidth: 2, tileRows: 4 },
    evaluation: { ks: [1, 5, 10] },
    ...change,
  });
}
