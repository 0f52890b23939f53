import { SoftflowError } from '../errors.ts';

/**
 * Weight of the distilled targets in the next epoch.
 *
 * `lambda_t = min(exp(curriculumAlpha * (d_t / d_0 - 1)), 1)`. Source: SOFT, arXiv 2505.20771 (method.md).
 *
 * @param distance d_t, mean L2 distance of generated to true titles after t epochs of SOFT training
 * @param initialDistance d_0, the same before it
 * @throws SoftflowError `DISTANCE_NOT_FINITE`, `DISTANCE_ZERO`
 */
export function curriculumLambda(curriculumAlpha: number, distance: number, initialDistance: number): number {
  requireDistance(distance, 'distance');
  requireInitialDistance(initialDistance);
  return Math.min(Math.exp(curriculumAlpha * (distance / initialDistance - 1)), 1);
}

/** @throws SoftflowError when no curriculum can be built on this d_0. */
export function requireInitialDistance(initialDistance: number): void {
  requireDistance(initialDistance, 'initial distance');
  if (initialDistance === 0)
    throw new SoftflowError(
      'DISTANCE_ZERO',
      'Expected an initial distance above 0, found 0: the base model already generates every true title. ' +
        'Check that the train prompts do not hold their own answers.',
    );
}

function requireDistance(distance: number, what: string): void {
  if (Number.isFinite(distance) && distance >= 0) return;
  throw new SoftflowError(
    'DISTANCE_NOT_FINITE',
    `Expected a finite ${what} of generated to true titles, found ${distance}. Lower train.learningRate and run again.`,
    { details: { what, found: String(distance) } },
  );
}
