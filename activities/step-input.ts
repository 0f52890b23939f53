import * as z from 'zod';
import { ArtifactRefSchema, DigestSchema } from '../artifacts/artifact-ref.ts';
import { SoftflowError } from '../errors.ts';
import type { JobName, StepInput, StepName } from './contracts.ts';
import { STEP_ROLES } from './step-contracts.ts';

const count = z.int().nonnegative();
const ModelSchema = z.object({ source: z.looseObject({}), digest: DigestSchema });
const PromptSchema = z.object({
  noun: z.string(),
  nounSingular: z.string(),
  verb: z.string(),
  template: z.string().optional(),
  maxTokens: count,
  truncate: z.enum(['left', 'right']),
});
const LoraSchema = z.object({
  rank: z.int().positive(),
  loraAlpha: z.number(),
  dropout: z.number(),
  targets: z.array(z.string()),
});
const GenerationSchema = z.object({
  beamWidth: z.int().positive(),
  maxNewTokens: z.int().positive(),
  constrain: z.enum(['none', 'catalogue']),
  tileRows: z.int().positive(),
});
const OptimizerSchema = z.object({
  learningRate: z.number(),
  warmupSteps: count,
  weightDecay: z.number(),
  maxGradNorm: z.number(),
});
const tensor = { model: ModelSchema, precision: z.enum(['f32', 'bf16']) };
const generating = { ...tensor, prompt: PromptSchema, lora: LoraSchema, generation: GenerationSchema };
const SourcesSchema = z.object({ model: ModelSchema, data: z.object({ digest: DigestSchema }) });
const LineageStepSchema = z.object({ id: z.string(), label: z.string(), step: z.string(), key: DigestSchema });

/** In every step's parameters: an attempt's name, which gives the step a key of its own. */
const stepParams = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.strictObject({ ...shape, attempt: z.string().optional() });

/** What each step's activity takes; the border of a process is crossed before it. */
const PARAMS: Record<StepName, z.ZodType> = {
  prepareData: stepParams({
    data: z.looseObject({}),
    digest: DigestSchema,
    snapshot: z.object({ interactions: ArtifactRefSchema, items: ArtifactRefSchema }).optional(),
    seed: count,
  }),
  encodeTitles: stepParams({ ...tensor, tileRows: z.int().positive() }),
  trainEpoch: stepParams({
    ...tensor,
    stage: z.enum(['sft', 'soft']),
    epoch: z.int().positive(),
    lambda: z.number().min(0).max(1),
    prompt: PromptSchema,
    lora: LoraSchema,
    optimizer: OptimizerSchema,
    batchSize: z.int().positive(),
    microBatchSize: z.int().positive(),
    lossAverage: z.enum(['batch', 'microBatch']),
    seed: count,
  }),
  selfDistill: stepParams(generating),
  measureDistance: stepParams({ ...generating, prompts: z.int().positive() }),
  evaluate: stepParams({ ...generating, ks: z.array(z.int().positive()) }),
  evaluatePopularity: stepParams({ ks: z.array(z.int().positive()) }),
  release: stepParams({
    config: z.looseObject({}),
    sources: SourcesSchema,
    steps: z.array(LineageStepSchema),
    chosen: z.object({ sft: z.int().positive(), soft: z.int().positive() }),
    ks: z.array(z.int().positive()),
    curriculum: z.array(z.looseObject({ epoch: z.int() })),
    run: z.string().optional(),
  }),
  renderReport: stepParams({ release: DigestSchema, runId: z.string(), name: z.string() }),
};

const CircumstancesSchema = z.strictObject({
  runId: z.string(),
  checkpointEverySeconds: z.number().positive(),
  checkpointsKept: z.int().min(2).optional(),
  shard: z.strictObject({ index: count, count: z.int().positive() }).optional(),
  allowDifferentBackend: z.boolean(),
  stallTimeoutSeconds: z.number().positive(),
});

const StepInputSchema = z.strictObject({
  step: z.enum(Object.keys(PARAMS) as [StepName, ...StepName[]]),
  key: DigestSchema,
  inputs: z.record(z.string(), ArtifactRefSchema),
  params: z.unknown(),
  circumstances: CircumstancesSchema,
});

/** JSON Schema of every step's input, for workers in other languages (`docs/activities.schema.json`). */
export function stepInputJsonSchema(): Record<string, unknown> {
  const steps = Object.entries(PARAMS) as [StepName, z.ZodType][];
  const ofStep = steps.map(([step, params]) => {
    const { inputs: required, optional } = STEP_ROLES[step];
    const inputs = z.strictObject({
      ...Object.fromEntries(required.map((role) => [role, ArtifactRefSchema])),
      ...Object.fromEntries(optional.map((role) => [role, ArtifactRefSchema.optional()])),
    });
    return StepInputSchema.extend({ step: z.literal(step), inputs, params });
  });
  const schema = z.toJSONSchema(z.union(ofStep), { io: 'input', reused: 'ref' });
  return { title: "Input of softflow's step activities", ...schema };
}

/** @throws SoftflowError `INPUT_INVALID` with every fault, not retryable */
export function parseStepInput<Params = unknown>(raw: unknown): StepInput<Params> {
  const { success, data: input, error } = StepInputSchema.safeParse(raw);
  if (!success) throw invalid('step input', z.prettifyError(error));
  const params = PARAMS[input.step].safeParse(input.params);
  if (!params.success) throw invalid(`parameters of ${input.step}`, z.prettifyError(params.error));
  const missing = STEP_ROLES[input.step as StepName].inputs.filter((name) => !(name in input.inputs));
  if (missing.length > 0) throw invalid(`inputs of ${input.step}`, `missing: ${missing.join(', ')}`);
  return input as StepInput<Params>;
}

/** @throws SoftflowError `STEP_OUTPUT_MISSING`, before a manifest can say that the step is done */
export function requireOutputs(step: JobName, outputs: Record<string, unknown>): void {
  const missing = STEP_ROLES[step as StepName].outputs.filter((name) => outputs[name] === undefined);
  if (missing.length === 0) return;
  throw new SoftflowError(
    'STEP_OUTPUT_MISSING',
    `Expected outputs ${STEP_ROLES[step as StepName].outputs.join(', ')} of ${step}, missing: ${missing.join(', ')}. ` +
      'Correct the code that computes the step, then resume the run.',
    { details: { step, missing } },
  );
}

function invalid(what: string, faults: string): SoftflowError {
  return new SoftflowError(
    'INPUT_INVALID',
    `The ${what} are not valid:\n${faults}\nWorkflow and worker are probably of different versions; update both.`,
  );
}
