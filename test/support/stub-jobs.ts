import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type {
  DistanceResult,
  EvaluateParams,
  LoraParams,
  MeasureDistanceParams,
  Progress,
  StepInput,
  StepResult,
  TrainEpochParams,
} from '../../activities/contracts.ts';
import { finishStep } from '../../activities/step-result.ts';
import { DrainedError, type JobContext, type Jobs } from '../../activities/trainer-protocol.ts';
import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';
import { latestCheckpoint, saveCheckpoint } from '../../artifacts/checkpoints.ts';
import { listTiles, putTile } from '../../artifacts/tiles.ts';
import {
  decodeItems,
  decodeTitles,
  decodeWindows,
  encodeDistances,
  encodeDistilled,
  encodeEmbeddings,
  encodePredictions,
} from '../../datasets/tables.ts';
import { ADAPTER_WEIGHTS, encodePeftAdapter } from '../../model/peft.ts';
import { predictionMetrics } from '../../report/metrics.ts';
import { isHeld } from './stub-hold.ts';

/**
 * Job bodies without tensors: every number is a hash of what it depends on, saved by tile and micro-batch as the real
 * ones are, so that the machinery around them can be tested with real kills. What goes wrong is told by environment
 * variables: `STUB_DELAY_MS` a unit of work, `STUB_CRASH` ("trainEpoch, micro-batch 3": dies there every time),
 * `STUB_FORGET` (a step that never puts its tiles together), `STUB_HANG` (stops moving there, once), `STUB_FAIL_ONCE` (a retryable fault), `STUB_DISTANCE` (a fixed distance).
 * Where a job is to wait is told by a file beside the store, see `stub-hold.ts`.
 */
export const FINGERPRINT = { backend: 'stub' };

const MICRO_BATCHES = 12;
const CHECKPOINT_EVERY = 4;

const delayMs = () => Number(process.env['STUB_DELAY_MS'] ?? 0);

const digest = (...parts: unknown[]) => createHash('sha256').update(JSON.stringify(parts)).digest();
/** A number in [0, 1). */
const unit = (...parts: unknown[]) => digest(...parts).readUInt32BE(0) / 2 ** 32;
const digests = (input: StepInput<unknown>) =>
  Object.fromEntries(Object.entries(input.inputs).map(([name, { sha256 }]) => [name, sha256]));

const read = (context: JobContext, input: StepInput<unknown>, name: string) =>
  context.store.getBytes(input.inputs[name] as ArtifactRef);

/** The border between two units of work: everything that can go wrong goes wrong here. */
async function unitOfWork(input: StepInput<unknown>, context: JobContext, progress: Progress): Promise<void> {
  const place = `${input.step}, ${progress.position}`;
  context.progress(progress);
  await context.breathe();
  await waitWhileHeld(context, { ...(input.params as object), step: input.step, position: progress.position });
  if (context.draining()) throw new DrainedError(progress.position);
  if (process.env['STUB_CRASH'] === place) process.kill(process.pid, 'SIGKILL');
  if (process.env['STUB_HANG'] === place && once(context, 'hang')) await sleep(600_000);
  if (process.env['STUB_FAIL_ONCE'] === place && once(context, 'fail'))
    throw Object.assign(new Error('connection lost'), { code: 'ECONNRESET' });
  if (delayMs() > 0) await sleep(delayMs());
}

/** Stays here as long as a test holds this place, or until it is to drain. */
async function waitWhileHeld(context: JobContext, place: Record<string, unknown>): Promise<void> {
  while (isHeld(context.store.root, place) && !context.draining()) {
    await sleep(20);
    await context.breathe();
  }
}

function once(context: JobContext, what: string): boolean {
  const marker = `${context.store.root}.${what}`;
  if (existsSync(marker)) return false;
  writeFileSync(marker, '');
  return true;
}

/** Rows of `count` in tiles of `tileRows`, each saved as it is done; the result is put together from the saved ones. */
async function inTiles<Row>(
  input: StepInput<unknown>,
  context: JobContext,
  rows: { count: number; tileRows: number },
  compute: (row: number) => Row,
): Promise<{ rows: Row[]; resumes: number } | null> {
  const total = Math.ceil(rows.count / rows.tileRows);
  const known = new Set((await listTiles(context.store, input.key)).map(({ index }) => index));
  const shard = input.circumstances.shard ?? { index: 0, count: 1 };
  for (let index = 0; index < total; index++) {
    if (known.has(index) || index % shard.count !== shard.index) continue;
    await unitOfWork(input, context, {
      step: input.step,
      position: `tile ${index + 1}`,
      done: index,
      total,
      unit: 'tile',
    });
    const end = Math.min(rows.count, (index + 1) * rows.tileRows);
    const tile = Array.from({ length: end - index * rows.tileRows }, (_, i) => compute(index * rows.tileRows + i));
    await putTile(context.store, input.key, index, {
      bytes: Buffer.from(JSON.stringify(tile)),
      meta: null,
      fingerprint: FINGERPRINT,
    });
  }
  const tiles = await listTiles(context.store, input.key);
  if (tiles.length < total || process.env['STUB_FORGET'] === input.step) return null;
  const parts = await Promise.all(
    tiles.map(async ({ blob }) => JSON.parse(Buffer.from(await context.store.getBytes(blob)).toString()) as Row[]),
  );
  return { rows: parts.flat(), resumes: known.size > 0 ? 1 : 0 };
}

async function finish(
  input: StepInput<unknown>,
  context: JobContext,
  name: string,
  bytes: Uint8Array,
  made: { rows: unknown[]; resumes: number },
  result: unknown,
): Promise<StepResult<unknown>> {
  const outputs = { [name]: await context.store.putBytes(bytes, { rows: made.rows.length, schema: name }) };
  const telemetry = { seconds: 0, resumes: made.resumes, reusedRows: 0 };
  return finishStep(context.store, input, { outputs, result, fingerprint: FINGERPRINT, telemetry });
}

async function encodeTitles(input: StepInput<unknown>, context: JobContext) {
  const titles = decodeTitles(await read(context, input, 'titles'));
  const { tileRows } = input.params as { tileRows: number };
  const made = await inTiles(input, context, { count: titles.length, tileRows }, (row) =>
    [0, 1, 2, 3].map((i) => unit(titles[row]?.title, i)),
  );
  if (!made) return null;
  return finish(input, context, 'embeddings', encodeEmbeddings(new Float32Array(made.rows.flat()), 4), made, {
    rows: titles.length,
    size: 4,
  });
}

async function trainEpoch(input: StepInput<unknown>, context: JobContext) {
  const params = input.params as TrainEpochParams;
  const checkpoint = await latestCheckpoint(context.store, input.key);
  let state = checkpoint
    ? Buffer.from(await context.store.getBytes(checkpoint.blob))
    : digest('begin', digests(input), params.stage, params.epoch, params.lambda, params.seed, params.optimizer);
  for (let batch = checkpoint?.position[0] ?? 0; batch < MICRO_BATCHES; batch++) {
    const save = async () =>
      batch > 0 &&
      saveCheckpoint(context.store, input.key, { position: [batch], fingerprint: FINGERPRINT, blob: state });
    try {
      await unitOfWork(input, context, {
        step: 'trainEpoch',
        position: `micro-batch ${batch + 1}`,
        done: batch,
        total: MICRO_BATCHES,
        unit: 'micro-batch',
        loss: unit(state.toString('hex')),
      });
    } catch (error) {
      if (error instanceof DrainedError) await save();
      throw error;
    }
    if (batch % CHECKPOINT_EVERY === 0) await save();
    state = digest(state.toString('hex'), batch);
  }
  const put = (bytes: Uint8Array) => context.store.putBytes(bytes);
  const trainLoss = 3 / (params.epoch + 1) + unit(state.toString('hex')) / 10;
  return finishStep(context.store, input, {
    outputs: { state: await put(state), adapter: await put(adapterOf(state, params.lora)) },
    result: {
      epoch: params.epoch,
      trainLoss,
      lossTarget: params.lambda === 1 ? null : trainLoss,
      lossDistilled: params.lambda === 0 ? null : trainLoss,
      stepLosses: [trainLoss + 0.1, trainLoss],
      targetTokens: 100,
      distilledTokens: 100,
      globalStep: 2 * params.epoch,
    },
    fingerprint: FINGERPRINT,
    telemetry: { seconds: 0.1, resumes: checkpoint ? 1 : 0, rate: 10, unit: 'micro-batch' },
  });
}

/** Weights of a PEFT adapter of one layer of four features, all of them from the state. */
function adapterOf(state: Buffer, { rank, loraAlpha, dropout, targets }: LoraParams): Uint8Array {
  const parameters = targets.flatMap((target) =>
    (['A', 'B'] as const).map((part): [string, { shape: [number, number]; data: Float32Array }] => {
      const shape: [number, number] = part === 'A' ? [rank, 4] : [4, rank];
      const data = Float32Array.from({ length: 4 * rank }, (_, i) => unit(state.toString('hex'), target, part, i));
      return [`base_model.model.model.layers.0.self_attn.${target}.lora_${part}.weight`, { shape, data }];
    }),
  );
  const lora = { rank, loraAlpha, dropout, targets } as Parameters<typeof encodePeftAdapter>[0]['lora'];
  const files = encodePeftAdapter({ parameters: new Map(parameters), lora, baseModel: 'stub' });
  return files.get(ADAPTER_WEIGHTS) as Uint8Array;
}

async function selfDistill(input: StepInput<unknown>, context: JobContext) {
  const windows = decodeWindows(await read(context, input, 'windows'));
  const { generation } = input.params as { generation: { tileRows: number } };
  const adapter = input.inputs['adapter']?.sha256;
  const made = await inTiles(input, context, { count: windows.length, tileRows: generation.tileRows }, (row) => {
    const window = windows[row] as (typeof windows)[number];
    const text = `Title ${digest(adapter, window.windowId).toString('hex').slice(0, 6)}`;
    return {
      windowId: window.windowId,
      text,
      tokenIds: [row, 2],
      logProbability: -1,
      beamTexts: [text],
      beamScores: [-1],
    };
  });
  if (!made) return null;
  const result = { rows: made.rows.length, exactTargets: 0, existingTitles: 0, distinctTexts: made.rows.length };
  return finish(input, context, 'distilled', encodeDistilled(made.rows), made, result);
}

async function measureDistance(input: StepInput<unknown>, context: JobContext) {
  const { prompts, generation } = input.params as MeasureDistanceParams;
  const windows = decodeWindows(await read(context, input, 'windows')).slice(0, prompts);
  const adapter = input.inputs['adapter']?.sha256;
  const made = await inTiles(input, context, { count: windows.length, tileRows: generation.tileRows }, (row) => {
    const windowId = windows[row]?.windowId ?? '';
    return { windowId, text: 'Title', distance: adapter ? 4 + 2 * unit(adapter, windowId) : 10 };
  });
  if (!made) return null;
  const mean = made.rows.reduce((sum, { distance }) => sum + distance, 0) / made.rows.length;
  const fixed = process.env['STUB_DISTANCE'];
  const result: DistanceResult = { distance: fixed === undefined ? mean : Number(fixed), prompts: windows.length };
  return finish(input, context, 'distances', encodeDistances(made.rows), made, result);
}

async function evaluate(input: StepInput<unknown>, context: JobContext) {
  const { ks, generation } = input.params as EvaluateParams;
  const windows = decodeWindows(await read(context, input, 'windows'));
  const items = decodeItems(await read(context, input, 'items'));
  const titles = decodeTitles(await read(context, input, 'titles'));
  const adapter = input.inputs['adapter']?.sha256 ?? 'base';
  const made = await inTiles(input, context, { count: windows.length, tileRows: generation.tileRows }, (row) => {
    const { windowId, target } = windows[row] as (typeof windows)[number];
    const nearest = Math.floor(unit(adapter, windowId, 'nearest') * titles.length);
    return {
      windowId,
      targetRow: items[target]?.titleRow ?? 0,
      text: titles[nearest]?.title ?? '',
      rank: 1 + Math.floor(unit(adapter, windowId) * titles.length),
      distance: unit(adapter, windowId),
      nearest,
      exists: true,
      valid: true,
    };
  });
  if (!made) return null;
  return finish(input, context, 'predictions', encodePredictions(made.rows), made, predictionMetrics(made.rows, ks));
}

export const JOBS: Jobs = { encodeTitles, trainEpoch, selfDistill, measureDistance, evaluate };
