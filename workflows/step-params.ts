import type {
  EncodeTitlesParams,
  EvaluateParams,
  GenerationParams,
  LoraParams,
  MeasureDistanceParams,
  OptimizerParams,
  PrepareDataParams,
  PromptParams,
  SelfDistillParams,
  Sources,
  TensorParams,
  TrainEpochParams,
} from '../activities/contracts.ts';
import type { SourceNames } from '../activities/resolve-sources.ts';
import type { RunConfig } from './run-config.ts';

/** Cuts a run config into the flat parameters of each step: what changes a step's result, and nothing else. */
export function stepParams(config: RunConfig, sources: Sources) {
  const tensor: TensorParams = { model: sources.model, precision: config.model.precision };
  const prompt: PromptParams = config.prompt;
  const lora: LoraParams = config.lora;
  const generation: GenerationParams = config.generation;
  const generating = { ...tensor, prompt, lora, generation };
  return {
    prepareData: (): PrepareDataParams => prepareDataParams(config, sources.data),
    encodeTitles: (): EncodeTitlesParams => ({ ...tensor, tileRows: config.encode.tileRows }),
    trainEpoch: (stage: 'sft' | 'soft', epoch: number, lambda: number): TrainEpochParams => ({
      ...tensor,
      stage,
      epoch,
      lambda,
      prompt,
      lora,
      optimizer: optimizerParams(config),
      batchSize: config.train.batchSize,
      microBatchSize: config.train.microBatchSize,
      lossAverage: config.train.lossAverage,
      seed: config.seed,
    }),
    selfDistill: (): SelfDistillParams => generating,
    measureDistance: (): MeasureDistanceParams => ({ ...generating, prompts: config.soft.distancePrompts }),
    evaluate: (): EvaluateParams => ({ ...generating, ks: rankCutoffs(config) }),
    evaluatePopularity: () => ({ ks: rankCutoffs(config) }),
  };
}

export function prepareDataParams(config: RunConfig, found: Sources['data']): PrepareDataParams {
  return { data: { ...config.data, ...instants(config) }, ...found, seed: config.seed };
}

/** Keys that name a run, or say how it runs and what becomes of it: they cannot change what it computes. */
export const CIRCUMSTANCES: ReadonlySet<string> = new Set([
  'name',
  'tags',
  'promote',
  'retrain',
  'notify',
  'checkpoint',
  'retention',
  'shards',
  'stepQueues',
  'stallTimeout',
  'cost',
]);

/** The part of a run config that a release states: all that its results depend on. */
export function settingsOfResults(config: RunConfig): Partial<RunConfig> {
  return Object.fromEntries(Object.entries(config).filter(([key]) => !CIRCUMSTANCES.has(key)));
}

/** What of the config says which model and which rows of the data are meant. */
export function sourceNames({ model, data }: RunConfig): SourceNames {
  const { source, asOf, knownAt, timeUnit, maxBadRows } = data;
  const limits = { ...(asOf === undefined ? {} : { asOf }), ...(knownAt === undefined ? {} : { knownAt }) };
  return { model: model.source, data: source, cutOff: { ...limits, timeUnit, maxBadRows } };
}

/** One way to write a moment, so that another zone's is no other step. */
function instants({ data }: RunConfig): Partial<Record<'asOf' | 'trainUntil' | 'testAfter', string>> {
  const names = ['asOf', 'trainUntil', 'testAfter'] as const;
  return Object.fromEntries(
    names.flatMap((name) => (data[name] === undefined ? [] : [[name, new Date(data[name]).toISOString()]])),
  );
}

function optimizerParams({ train }: RunConfig): OptimizerParams {
  const { learningRate, warmupSteps, weightDecay, maxGradNorm } = train;
  return { learningRate, warmupSteps, weightDecay, maxGradNorm };
}

/** The Ks that are measured, ascending; the one of the validation metric is always among them. */
export function rankCutoffs({ evaluation }: RunConfig): number[] {
  return [...new Set([...evaluation.ks, metricOf(evaluation.metric).k])].sort((a, b) => a - b);
}

/** `hr@10` in its parts. */
export function metricOf(metric: string): { kind: 'hr' | 'ndcg'; k: number } {
  const [kind, k] = metric.split('@');
  return { kind: kind === 'ndcg' ? 'ndcg' : 'hr', k: Number(k) };
}
