import * as z from 'zod';
import { DurationSchema } from './duration.ts';

const share = z.number().min(0).max(1);

/** How far new data may be from what the champion was trained on. Shares; a drop is relative to the champion's data. */
const DriftLimitsSchema = z.strictObject({
  maxUsersDrop: share.default(0.3).describe("Fewer users than the champion's data, as a share of them."),
  maxItemsDrop: share.default(0.3).describe('Fewer items, likewise.'),
  maxInteractionsDrop: share.default(0.3).describe('Fewer interactions, likewise.'),
  maxUnseenItems: share.default(0.5).describe("Items that the champion's data did not have."),
  maxRepeatedTitles: share.default(0.5).describe('Items that share their title with another.'),
});

/** What a schedule's runs do beyond a plain run of the recipe. No part of a step key. */
export const RetrainConfigSchema = z.strictObject({
  evalSpan: DurationSchema.default('7d').describe(
    'Training ends so long before the as-of time; what follows tests champion and challenger.',
  ),
  warmStart: z.boolean().default(false).describe('SFT starts from the promoted adapter instead of a fresh one.'),
  sourceAttempts: z
    .int()
    .min(1)
    .default(8)
    .describe('How often an unreadable source is tried, with growing pauses, before the retrain fails.'),
  drift: DriftLimitsSchema.prefault({}).describe('Beyond these limits the retrain fails before it trains.'),
});

/** Where SFT starts from; a retrain writes it into the config of the run that it trains. */
export const WarmStartSchema = z.strictObject({
  release: z.string().describe('The release whose adapter it is.'),
  adapter: z.strictObject({
    uri: z.string().describe('Address in the store.'),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .describe('Digest of its bytes.'),
    bytes: z.int().positive().describe('Its size.'),
  }),
});

export const NOTIFY_EVENTS = ['failed', 'promoted', 'kept', 'waiting'] as const;

/** Who is told what became of a retrain. No part of a step key. */
export const NotifyConfigSchema = z.strictObject({
  on: z
    .array(z.enum(NOTIFY_EVENTS))
    .default([...NOTIFY_EVENTS])
    .describe('Events that are told.'),
  webhook: z
    .strictObject({
      urlEnv: z
        .string()
        .regex(/^[A-Z_][A-Z0-9_]*$/, 'expected the name of an environment variable that holds the URL, not the URL')
        .describe('Name of the environment variable that holds the URL where the worker runs.'),
    })
    .optional()
    .describe('The event is posted there as JSON.'),
  command: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('Program and arguments, started without a shell where the worker runs; the event is JSON on its input.'),
});

export type NotifyConfig = z.infer<typeof NotifyConfigSchema>;
