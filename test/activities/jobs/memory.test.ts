import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StepInput } from '../../../activities/contracts.ts';
import { JOBS } from '../../../activities/jobs/index.ts';
import type { ArtifactRef } from '../../../artifacts/artifact-ref.ts';
import type { Store } from '../../../artifacts/store.ts';
import { encodeWindows } from '../../../datasets/tables.ts';
import { tf } from '../../../model/tf.ts';
import { openTensorflow } from '../../model/reference.ts';
import { faultFigure } from '../../support/fault-figures.ts';
import { contextOf, GENERATION, LORA, PROMPT, runStep, stepInput, WINDOWS, Workshop } from './fixtures.ts';

const STEPS = 1000;

let workshop: Workshop;
let store: Store;
let tables: Record<'items' | 'titles' | 'windows' | 'distilled', ArtifactRef>;
beforeAll(async () => {
  await openTensorflow();
  workshop = await Workshop.open();
  store = await workshop.newStore();
  tables = await workshop.putTables(store);
});
afterAll(() => workshop.remove());

/** Tensors alive at each border of a job (micro-batch, decode step, tile), and after it. */
async function countTensors(input: StepInput<unknown>): Promise<{ atBorders: number[]; after: number }> {
  const atBorders: number[] = [];
  const context = contextOf(store);
  const { breathe } = context;
  context.breathe = async () => {
    atBorders.push(tf.memory().numTensors);
    await breathe();
  };
  await runStep(JOBS, input, context);
  return { atBorders, after: tf.memory().numTensors };
}

test('As many tensors are alive at an optimiser step as a thousand steps later. (R16)', async (context) => {
  const rows = Array.from({ length: STEPS + 20 }, (_, i) => ({ ...WINDOWS[i % WINDOWS.length]!, windowId: `u${i}:3` }));
  const windows = await store.putBytes(encodeWindows(rows));
  const one = { batchSize: 1, microBatchSize: 1, stage: 'sft', lambda: 0 };
  const input = stepInput('trainEpoch', { items: tables.items, windows }, { ...workshop.training, ...one });
  const { atBorders } = await countTensors(input);
  expect(atBorders.length).toBe(STEPS + 20);
  expect(new Set(atBorders.slice(10)).size).toBe(1);
  faultFigure(context, 1, `${atBorders[10]} tensors at step 10, ${atBorders[10 + STEPS]} at step ${10 + STEPS}`);
});

test('A second job of a kind leaves as many tensors behind as the first, however many tiles it had. (R16)', async (context) => {
  const { items, titles, windows } = tables;
  const encoding = (tileRows: number) => stepInput('encodeTitles', { titles }, { ...workshop.model, tileRows });
  const embeddings = (await runStep(JOBS, encoding(7), contextOf(store))).outputs['embeddings'] as ArtifactRef;
  const generating = { ...workshop.model, prompt: PROMPT, lora: LORA };
  const training = { ...workshop.training, stage: 'sft', lambda: 0 };
  const trained = await runStep(JOBS, stepInput('trainEpoch', { items, windows }, training), contextOf(store));
  const adapter = trained.outputs['adapter'] as ArtifactRef;
  const inputs = { items, titles, windows, adapter };
  const jobs: ((tileRows: number) => StepInput<unknown>)[] = [
    encoding,
    (tileRows) => stepInput('selfDistill', inputs, { ...generating, generation: { ...GENERATION, tileRows } }),
    (tileRows) =>
      stepInput(
        'measureDistance',
        { ...inputs, embeddings },
        {
          ...generating,
          generation: { ...GENERATION, tileRows },
          prompts: 10,
        },
      ),
    (tileRows) =>
      stepInput(
        'evaluate',
        { ...inputs, embeddings },
        {
          ...generating,
          generation: { ...GENERATION, tileRows },
          ks: [1],
        },
      ),
  ];
  for (const job of jobs) {
    const [few, many] = [await countTensors(job(5)), await countTensors(job(1))];
    expect(many.atBorders.length).toBeGreaterThan(few.atBorders.length);
    expect([job(1).step, many.after]).toEqual([job(1).step, few.after]);
  }
  faultFigure(context, jobs.length, 'jobs of tiles leave nothing behind');
});
