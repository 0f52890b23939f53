import type { Store } from '../../artifacts/store.ts';
import { decodeItems, decodeWindows } from '../../datasets/tables.ts';
import { SoftflowError } from '../../errors.ts';
import type { BaseModel } from '../../model/base-model.ts';
import { forwardHidden, logitsOf, packedPass } from '../../model/forward.ts';
import { type Lora, uploadAdapter } from '../../model/lora.ts';
import { writeMergedModel } from '../../model/merge.ts';
import { packBatch } from '../../model/packing.ts';
import type { Tokenizer } from '../../model/tokenizer.ts';
import { openWeights } from '../../model/weights.ts';
import type { StepInput, StepResult } from '../contracts.ts';
import type { MergeAdapterParams, MergeAdapterResult, MergeVerification } from '../tool-contracts.ts';
import { DrainedError, type JobContext } from '../trainer-protocol.ts';
import { encodePrompts, readAdapter, readInput } from './job-data.ts';
import type { TensorSession } from './tensor-session.ts';

/** Logits are compared at this many of a prompt's last tokens. */
const POSITIONS = 8;
/** Float32 sums in another order differ by far less than this share of the largest logit. */
const TOLERANCE = 1e-3;

type Input = StepInput<MergeAdapterParams>;

/** Writes base model + adapter as one model folder, and compares what is read back from it with base + adapter. */
export async function mergeAdapter(
  session: TensorSession,
  input: Input,
  context: JobContext,
): Promise<StepResult<MergeAdapterResult>> {
  const { params, inputs } = input;
  const adapter = await readAdapter(context.store, inputs['adapter']!);
  const source = await context.modelFiles(params.model.source);
  const weightBytes = await writeMergedModel({
    source,
    files: await openWeights(source),
    adapter,
    scale: params.lora.loraAlpha / params.lora.rank,
    folder: params.folder,
    onTensor: (done, total) => step(context, 'merge', done, total, 'tensors'),
  });
  const verified = params.verifyPrompts > 0 ? await verify(session, input, context) : undefined;
  return {
    key: input.key,
    outputs: {},
    result: { weightBytes, ...(verified && { verified }) },
    reused: false,
    fingerprint: '',
    telemetry: { seconds: 0, resumes: 0 },
  };
}

/** Always in float32, so that what is measured is the merge and not the rounding of a lower precision. */
async function verify(session: TensorSession, input: Input, context: JobContext): Promise<MergeVerification> {
  const { params, inputs } = input;
  const { model, tokenizer } = await session.load({ ...params, precision: 'f32' }, context);
  const prompts = await readPrompts(context.store, input, tokenizer);
  const lora = uploadAdapter(model.config, params.lora, await readAdapter(context.store, inputs['adapter']!));
  const expected: Float32Array[] = [];
  for (const [i, ids] of prompts.entries()) {
    await step(context, 'verify base + adapter', i, prompts.length, 'prompts');
    expected.push(lastLogits(model, ids, lora));
  }
  lora.dispose();
  session.unload();
  const merged = await session.open({ folder: params.folder }, 'f32');
  try {
    assertSameIds(prompts, await readPrompts(context.store, input, merged.tokenizer));
    const verification = { prompts: prompts.length, maxLogitDifference: 0, maxLogit: 0 };
    for (const [i, ids] of prompts.entries()) {
      await step(context, 'verify merged', i, prompts.length, 'prompts');
      widen(verification, expected[i] as Float32Array, lastLogits(merged.model, ids));
    }
    return accepted(verification);
  } finally {
    merged.model.dispose();
  }
}

async function readPrompts(store: Store, input: Input, tokenizer: Tokenizer): Promise<number[][]> {
  const items = decodeItems(await readInput(store, input, 'items'));
  const windows = decodeWindows(await readInput(store, input, 'windows')).slice(0, input.params.verifyPrompts);
  return encodePrompts(windows, items, tokenizer, input.params.prompt);
}

/** Logits of the prompt's last tokens, [n * v]. */
function lastLogits(model: BaseModel, ids: number[], lora?: Lora): Float32Array {
  const batch = packBatch([{ windowId: '', prompt: ids }], 0);
  const pass = packedPass(model, batch, { lora });
  const count = Math.min(POSITIONS, ids.length);
  const wanted = Int32Array.from({ length: count }, (_, i) => ids.length - count + i);
  const hidden = forwardHidden(model, batch.ids, pass, { wanted });
  const logits = logitsOf(model, hidden);
  const values = logits.dataSync() as Float32Array;
  logits.dispose();
  hidden.dispose();
  pass.dispose();
  return values;
}

function widen(verification: MergeVerification, expected: Float32Array, received: Float32Array): void {
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs((expected[i] as number) - (received[i] as number));
    // A logit that is no number must not pass as a small difference.
    if (!(difference <= verification.maxLogitDifference)) verification.maxLogitDifference = difference;
    verification.maxLogit = Math.max(verification.maxLogit, Math.abs(expected[i] as number));
  }
}

/** @throws SoftflowError `EXPORT_DIFFERS` when the merged model is not what it was merged from */
export function accepted(verification: MergeVerification): MergeVerification {
  const { maxLogitDifference, maxLogit } = verification;
  if (maxLogitDifference <= TOLERANCE * maxLogit) return verification;
  throw new SoftflowError(
    'EXPORT_DIFFERS',
    `The merged model does not answer as base + adapter do: expected logits within ${TOLERANCE} of the largest (${maxLogit}), found a difference of ${maxLogitDifference}. Nothing was exported.`,
    { details: { ...verification } },
  );
}

function assertSameIds(expected: readonly number[][], received: readonly number[][]): void {
  const at = expected.findIndex((ids, i) => ids.join() !== received[i]?.join());
  if (at === -1) return;
  throw new SoftflowError(
    'EXPORT_DIFFERS',
    `The exported tokenizer does not give the model's own token ids (prompt ${at + 1}). Nothing was exported.`,
    { details: { prompt: at } },
  );
}

async function step(context: JobContext, what: string, done: number, total: number, unit: string): Promise<void> {
  const position = `${what} ${done + 1}/${total}`;
  context.progress({ step: 'mergeAdapter', position, done, total, unit });
  await context.breathe();
  if (context.draining()) throw new DrainedError(position);
}
