import type { EvaluateParams } from '../../activities/contracts.ts';
import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';

/** A reference to a blob that need not be there; `digit` fills its digest. */
export function aRef(digit: string): ArtifactRef {
  const sha256 = digit.repeat(64);
  return { uri: `blobs/${sha256}`, sha256, bytes: 1 };
}

export const evaluateParams: EvaluateParams = {
  model: { source: { folder: '/models/one' }, digest: 'a'.repeat(64) },
  precision: 'f32',
  prompt: { noun: 'movies', nounSingular: 'movie', verb: 'watched', maxTokens: 700, truncate: 'left' },
  lora: { rank: 8, loraAlpha: 16, dropout: 0, targets: ['q_proj'] },
  generation: { beamWidth: 4, maxNewTokens: 64, constrain: 'none', tileRows: 32 },
  ks: [1, 10],
};
