import * as z from 'zod';
import { DataConfigSchema } from './data-config.ts';
import { PromoteConfigSchema } from './promote-config.ts';
import { RetentionConfigSchema } from './retention-config.ts';
import { NotifyConfigSchema, RetrainConfigSchema, WarmStartSchema } from './retrain-config.ts';
import { StepQueuesSchema } from './step-queues-config.ts';

const int = (min: number, max = Number.MAX_SAFE_INTEGER) => z.int().min(min).max(max);

export const PromptConfigSchema = z.strictObject({
  noun: z
    .string()
    .min(1)
    .default('movies')
    .describe('What the items are, in the prompt: "Given a list of {noun} the user has {verb} before ...".'),
  nounSingular: z.string().min(1).default('movie').describe('One of them.'),
  verb: z.string().min(1).default('watched').describe('What users have done with them.'),
  template: z
    .string()
    .optional()
    .describe("A frame of your own with {noun}, {nounSingular}, {verb} and {history}; the default is the method's."),
  maxTokens: int(16).default(700).describe('Tokens of a prompt at most; a longer one is cut, see truncate.'),
  truncate: z.enum(['left', 'right']).default('left').describe('left drops the oldest items, right cuts the end.'),
});

export const ModelSourceSchema = z.union([
  z.strictObject({ registry: z.literal('smollm2-135m-instruct').describe('A model that softflow fetches itself.') }),
  z.strictObject({ folder: z.string().describe('Hugging Face layout: config.json, safetensors, tokenizer.json.') }),
  z.strictObject({ gguf: z.string().describe('Path of a GGUF file.') }),
  z.strictObject({
    hub: z.string().describe('Hugging Face id, for instance meta-llama/Llama-3.2-3B.'),
    revision: z.string().default('main').describe("Branch, tag or commit of the hub's repository."),
    tokenEnv: z.string().optional().describe('Name of the environment variable that holds the access token.'),
  }),
]);

/** One run of SOFT; every default is written here and nowhere else. */
export const RunConfigSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/)
      .default('soft')
      .describe('Name of the run.'),
    tags: z.array(z.string()).default([]).describe('Labels of your own, kept with the run.'),
    model: z
      .strictObject({
        source: ModelSourceSchema,
        precision: z
          .enum(['f32', 'bf16'])
          .default('f32')
          .describe('Of the frozen weights in matrix products; bf16 takes half the memory.'),
      })
      .describe('The base model; precision is that of its frozen weights in matrix products.'),
    data: DataConfigSchema,
    prompt: PromptConfigSchema.prefault({}),
    lora: z
      .strictObject({
        rank: int(1, 1024).default(8).describe('Rank of the two matrices of an adapter.'),
        loraAlpha: z.number().positive().default(16).describe('What an adapter adds is scaled by loraAlpha / rank.'),
        dropout: z
          .number()
          .min(0)
          .max(0.9)
          .default(0.05)
          .describe("Share of an adapter's inputs that is left out in training."),
        targets: z
          .array(z.enum(['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']))
          .min(1)
          .default(['q_proj', 'v_proj'])
          .describe('Projections that get an adapter.'),
      })
      .prefault({}),
    train: z
      .strictObject({
        batchSize: int(1).default(256).describe('Windows of one optimiser step.'),
        microBatchSize: int(1)
          .default(8)
          .describe('Windows computed together; divides batchSize. Fewer take less memory.'),
        learningRate: z.number().positive().default(1e-4).describe('Of AdamW; constant after warm-up.'),
        warmupSteps: int(0)
          .default(20)
          .describe('Optimiser steps over which the learning rate rises to its value, at the start of each stage.'),
        weightDecay: z.number().min(0).default(0).describe('Of AdamW, decoupled.'),
        maxGradNorm: z.number().positive().default(1).describe('A gradient with a larger norm is scaled down to it.'),
        maxEpochs: int(1).default(7).describe('Epochs of a stage at most; see patience.'),
        patience: int(1)
          .default(2)
          .describe('Epochs without a better validation (evaluation.metric) before a stage stops.'),
        select: z
          .enum(['best', 'last'])
          .default('best')
          .describe('Whose adapter a stage hands on: of the epoch with the best validation, or of the last one.'),
        lossAverage: z
          .enum(['batch', 'microBatch'])
          .default('batch')
          .describe('Over what the loss of the answer tokens is averaged.'),
      })
      .prefault({}),
    sft: z
      .strictObject({
        maxEpochs: int(1).optional().describe('Instead of train.maxEpochs.'),
        warmStart: WarmStartSchema.optional().describe(
          'Starts from this adapter of the store instead of a fresh one; set by a retrain, see retrain.warmStart.',
        ),
      })
      .prefault({})
      .describe('Overrides of train for SFT.'),
    soft: z
      .strictObject({
        curriculumAlpha: z
          .number()
          .min(0)
          .default(1)
          .describe('Pace of the curriculum: larger moves faster from own answers to true titles.'),
        maxEpochs: int(1).optional().describe('Instead of train.maxEpochs.'),
        distancePrompts: int(1).default(256).describe('How many of the first train prompts measure the distance.'),
      })
      .prefault({}),
    generation: z
      .strictObject({
        beamWidth: int(1, 64).default(4).describe('Beams of the search; the best one is the answer.'),
        maxNewTokens: int(1, 1024)
          .default(64)
          .describe('Tokens of an answer at most; a little more than the longest titles need.'),
        constrain: z
          .enum(['none', 'catalogue'])
          .default('none')
          .describe('catalogue lets the model write titles of the catalogue only.'),
        tileRows: int(1, 4096).default(32).describe('Prompts computed together; part of the result.'),
      })
      .prefault({}),
    encode: z
      .strictObject({ tileRows: int(1, 65536).default(128).describe('Titles embedded together; part of the result.') })
      .prefault({}),
    evaluation: z
      .strictObject({
        ks: z.array(int(1)).min(1).default([1, 5, 10, 20, 50]).describe('HR and NDCG are measured at these ranks.'),
        zeroShot: z.boolean().default(true).describe('Whether the base model is tested as well.'),
        metric: z
          .string()
          .regex(/^(hr|ndcg)@\d+$/)
          .default('hr@10')
          .describe('Validation metric of early stop.'),
      })
      .prefault({}),
    promote: PromoteConfigSchema.prefault({}),
    retrain: RetrainConfigSchema.prefault({}).describe('What a schedule does beyond one run.'),
    notify: NotifyConfigSchema.prefault({}).describe('Who is told what became of a retrain.'),
    checkpoint: z
      .strictObject({
        every: z.number().positive().default(60).describe('Seconds between two checkpoints of an epoch.'),
      })
      .prefault({}),
    retention: RetentionConfigSchema.prefault({}).describe('What of a run stays in the store.'),
    shards: int(1, 1024).default(1).describe('In how many activities a tile step runs; cannot change a byte.'),
    stepQueues: StepQueuesSchema.prefault({}),
    allowDifferentBackend: z
      .boolean()
      .default(false)
      .describe('Whether a step that another backend has begun may go on here; its bytes then differ.'),
    stallTimeout: z
      .number()
      .positive()
      .default(600)
      .describe('Seconds without progress before a trainer is restarted.'),
    cost: z
      .strictObject({
        perHour: z
          .number()
          .positive()
          .optional()
          .describe('Price of an hour of the machine; `softflow plan` then shows costs.'),
        currency: z.string().min(1).max(8).default('USD').describe("Name of the price's currency."),
      })
      .prefault({}),
    seed: int(0, 2 ** 32 - 1)
      .default(42)
      .describe('Of every random draw of the run.'),
  })
  .superRefine((config, context) => {
    if (config.train.batchSize % config.train.microBatchSize !== 0)
      context.addIssue({
        code: 'custom',
        path: ['train', 'microBatchSize'],
        message: `Expected \`microBatchSize\` to divide batchSize (${config.train.batchSize}), got ${config.train.microBatchSize}`,
      });
    if (config.data.split.train + config.data.split.valid >= 1)
      context.addIssue({
        code: 'custom',
        path: ['data', 'split'],
        message: `Expected train + valid below 1 so that test windows remain, got ${config.data.split.train + config.data.split.valid}`,
      });
  });

/** A whole, resolved run config. */
export type RunConfig = z.infer<typeof RunConfigSchema>;
/** What a person writes: everything with a default may be left out. */
export type RunConfigInput = z.input<typeof RunConfigSchema>;
