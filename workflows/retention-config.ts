import * as z from 'zod';

/** What of a run stays in the store; it cannot change a result. */
export const RetentionConfigSchema = z.strictObject({
  checkpoints: z
    .int()
    .min(2)
    .max(1000)
    .default(2)
    .describe('How many checkpoints of an epoch at work stay: the furthest, and those before it should it be damaged.'),
  epochs: z
    .enum(['all', 'best'])
    .default('all')
    .describe(
      'Whose training states and adapters stay once a run is completed: of every epoch, or of the chosen one and the last of each stage. `softflow store gc` lets the others go.',
    ),
  days: z
    .number()
    .positive()
    .optional()
    .describe(
      'So long after a run has ended its release and its report stay and the rest goes with `softflow store gc`; by default everything stays.',
    ),
});
