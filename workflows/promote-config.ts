import * as z from 'zod';
import { DurationSchema } from './duration.ts';

/** What becomes of a finished run: whether it takes the place of the release that is current. */
export const PromoteConfigSchema = z.strictObject({
  mode: z
    .enum(['automatic', 'manual', 'never'])
    .default('never')
    .describe('After a retrain: promote what passes the rule, ask a person, or leave `current` alone.'),
  when: z
    .strictObject({
      metric: z
        .string()
        .regex(/^(hr|ndcg)@[1-9]\d{0,5}$/)
        .default('ndcg@10')
        .describe('Compared on the same test windows, window by window.'),
      minGain: z
        .number()
        .min(-1)
        .max(1)
        .default(0)
        .describe('The interval of challenger - champion must lie above this.'),
      confidence: z.number().min(0.5).max(0.999).default(0.95).describe('Of that interval, by paired bootstrap.'),
    })
    .prefault({}),
  minWindows: z.int().min(1).default(100).describe('With fewer common test windows the champion is kept.'),
  reminder: DurationSchema.default('1d').describe('How often a waiting decision is called to mind.'),
  timeout: DurationSchema.default('7d').describe('How long a decision waits for a person.'),
  onTimeout: z.enum(['keep', 'promote']).default('keep').describe('What happens when nobody has decided by then.'),
});

export type PromoteConfig = z.infer<typeof PromoteConfigSchema>;
