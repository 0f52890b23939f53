import { latestCheckpoint } from '../../artifacts/checkpoints.ts';
import { decodeDistilled, decodeItems, decodeWindows } from '../../datasets/tables.ts';
import { SoftflowError } from '../../errors.ts';
import type { BaseModel } from '../../model/base-model.ts';
import { initialAdapter } from '../../model/lora.ts';
import { learningRateAt } from '../../model/optimizer.ts';
import type { Sample } from '../../model/packing.ts';
import type { Tokenizer } from '../../model/tokenizer.ts';
import { decodeTrainingState, freshTrainingState } from '../../model/training-state.ts';
import type { StepInput, TrainEpochParams } from '../contracts.ts';
import type { JobContext } from '../trainer-protocol.ts';
import type { PlannedStep } from './epoch-plan.ts';
import { encodePrompts, encodeTarget, readAdapter, readInput } from './job-data.ts';
import { checkFingerprint, noteResume, resumesOf } from './tiles.ts';

type Input = StepInput<TrainEpochParams>;

/** Where training stands and what it has summed so far; exact, since it is what a resumed epoch goes on from. */
export interface EpochFigures {
  /** Steps done in this epoch, and micro-batches done in the step in progress. */
  step: number;
  microBatch: number;
  targetSum: number;
  distilledSum: number;
  targetTokens: number;
  distilledTokens: number;
  /** Weighted loss of the step in progress and of each finished step. */
  stepLoss: number;
  stepLosses: number[];
}

const NOTHING_DONE: EpochFigures = {
  step: 0,
  microBatch: 0,
  targetSum: 0,
  distilledSum: 0,
  targetTokens: 0,
  distilledTokens: 0,
  stepLoss: 0,
  stepLosses: [],
};

/** What an epoch learns from: each window's prompt and, by lambda, its answers. */
export async function readSamples(input: Input, { store }: JobContext, tokenizer: Tokenizer): Promise<Sample[]> {
  const { lambda, prompt } = input.params;
  const items = decodeItems(await readInput(store, input, 'items'));
  const windows = decodeWindows(await readInput(store, input, 'windows'));
  const prompts = encodePrompts(windows, items, tokenizer, prompt);
  const distilled = lambda > 0 ? decodeDistilled(await readInput(store, input, 'distilled')) : [];
  return windows.map((window, i) => ({
    windowId: window.windowId,
    prompt: prompts[i] as number[],
    // A response whose weight is 0 is not run at all.
    ...(lambda < 1 && { target: encodeTarget(items, window.target, tokenizer) }),
    ...(lambda > 0 && { distilled: distilledIds(distilled[i], window.windowId, tokenizer) }),
  }));
}

function distilledIds(
  row: { windowId: string; tokenIds: number[] } | undefined,
  windowId: string,
  tokenizer: Tokenizer,
) {
  if (row?.windowId !== windowId)
    throw new SoftflowError(
      'TABLE_INVALID',
      `Expected the distilled row of window ${windowId}, got ${row?.windowId ?? 'none'}`,
    );
  return [...row.tokenIds, tokenizer.eosTokenId];
}

/** The state that this attempt goes on from: a checkpoint of the step, the epoch before, or a fresh adapter. */
export async function begin(input: Input, context: JobContext, model: BaseModel, plan: PlannedStep[]) {
  const { store } = context;
  const checkpoint = await latestCheckpoint(store, input.key);
  if (checkpoint !== undefined) {
    checkFingerprint(checkpoint.fingerprint, input, context);
    const state = await decodeTrainingState(await store.getBytes(checkpoint.blob));
    const figures = state.figures as EpochFigures;
    const attempt = (await resumesOf(store, input.key)) + 2;
    const rate = learningRateAt(input.params.optimizer, state.optimizer.step);
    const resumed =
      `resumed at ${positionOf(input, figures, plan)} (checkpoint ${Math.round(checkpoint.ageMs / 1000)} s old, attempt ${attempt}, ` +
      `lr ${rate}, optimiser, gradient sum and data position restored)`;
    await noteResume(store, input.key, input.circumstances.runId, resumed);
    return { state, figures };
  }
  const previous = input.inputs['state'];
  const state = previous
    ? await decodeTrainingState(await store.getBytes(previous))
    : freshTrainingState(await firstAdapter(input, context, model));
  return { state, figures: NOTHING_DONE };
}

/** What epoch 1 trains: the adapter of an earlier release, or a fresh one. Moments always start at zero. */
async function firstAdapter({ inputs, params }: Input, { store }: JobContext, { config }: BaseModel) {
  const warmStart = inputs['warmStart'];
  const fresh = initialAdapter(config, params.lora, params.seed);
  if (!warmStart) return fresh;
  const adapter = await readAdapter(store, warmStart);
  for (const [name, { shape }] of fresh) {
    const received = adapter.get(name)?.shape;
    if (`${received}` !== `${shape}`)
      throw new SoftflowError(
        'WARM_START_MISMATCH',
        `The adapter to start from does not fit this run. Expected ${name} of shape [${shape}]. Received ${received ? `[${received}]` : 'none'}. ` +
          'Leave out sft.warmStart, or use the model and the lora settings of that release.',
        { details: { name, expected: shape, received: received ?? null } },
      );
  }
  return adapter;
}

/** For people: epoch or round, step and micro-batch in progress, with totals when the plan is given. */
export function positionOf({ params }: Input, { step, microBatch }: EpochFigures, plan?: PlannedStep[]): string {
  const steps = plan ? `/${plan.length}` : '';
  const microBatches = plan ? `/${plan[step]?.microBatches.length ?? 0}` : '';
  return `${params.stage === 'sft' ? 'epoch' : 'round'} ${params.epoch}, step ${step + 1}${steps}, micro-batch ${microBatch + 1}${microBatches}`;
}
