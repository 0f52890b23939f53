import { z } from 'zod';
import { SoftflowError } from '../errors.ts';

/**
 * The record that makes a finished step count as not done. `onRequest`: it held data of a person who asked to be
 * removed, or was made from it, so it is not made again either.
 */
const TombstoneSchema = z.strictObject({ forgotten: z.literal(true), onRequest: z.literal(true).optional() });

export type Tombstone = z.infer<typeof TombstoneSchema>;

export function tombstone(onRequest: boolean): Tombstone {
  return onRequest ? { forgotten: true, onRequest } : { forgotten: true };
}

/** The tombstone that a manifest's record is, if it is one. */
export function asTombstone(value: unknown): Tombstone | undefined {
  return TombstoneSchema.safeParse(value).data;
}

/** The error of a step that was forgotten on request and is asked for again. */
export function stepForgotten(key: string): SoftflowError {
  return new SoftflowError(
    'STEP_FORGOTTEN',
    `Step ${key} was forgotten on request (\`softflow store forget\`): it held data of a person or was made from it, and is not ` +
      'made again. Take that person out of the data source, then start the recipe as a new run.',
    { details: { key } },
  );
}
