import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type {
  DistanceResult,
  EncodeTitlesResult,
  EvaluateParams,
  MeasureDistanceParams,
  Metrics,
  SelfDistillParams,
  SelfDistillResult,
} from '../../../activities/contracts.ts';
import { JOBS } from '../../../activities/jobs/index.ts';
import { DrainedError } from '../../../activities/trainer-protocol.ts';
import type { ArtifactRef } from '../../../artifacts/artifact-ref.ts';
import type { Store } from '../../../artifacts/store.ts';
import { listTiles } from '../../../artifacts/tiles.ts';
import { decodeDistances, decodeDistilled, decodeEmbeddings, decodePredictions } from '../../../datasets/tables.ts';
import { openTensorflow } from '../../model/reference.ts';
import { CATALOGUE, contextOf, GENERATION, LORA, PROMPT, runStep, stepInput, WINDOWS, Workshop } from './fixtures.ts';

/** The longest title of the catalogue fits. */
const WHOLE_TITLES = { ...GENERATION, maxNewTokens: 16, constrain: 'catalogue' } as const;

let workshop: Workshop;
let store: Store;
let tables: Record<string, ArtifactRef>;
beforeAll(async () => {
  await openTensorflow();
  workshop = await Workshop.open();
  store = await workshop.newStore();
  const { items, titles, windows } = await workshop.putTables(store);
  const encoding = stepInput('encodeTitles', { titles }, { ...workshop.model, tileRows: 3 });
  const encoded = await runStep<EncodeTitlesResult>(JOBS, encoding, contextOf(store));
  expect(encoded.result).toEqual({ rows: 7, size: 32 });
  const training = await runStep(
    JOBS,
    stepInput('trainEpoch', { items, windows }, { ...workshop.training, stage: 'sft', lambda: 0 }),
    contextOf(store),
  );
  tables = {
    items,
    titles,
    windows,
    embeddings: encoded.outputs['embeddings']!,
    adapter: training.outputs['adapter']!,
  };
});
afterAll(() => workshop.remove());

const base = () => ({ ...workshop.model, prompt: PROMPT, lora: LORA, generation: GENERATION });

const evaluation = (change: Partial<EvaluateParams> = {}, inputs = tables) =>
  stepInput('evaluate', inputs, { ...base(), ks: [1, 5, 7], ...change });
const evaluate = (input: ReturnType<typeof evaluation>, at = store) => runStep<Metrics>(JOBS, input, contextOf(at));
const read = async (ref: ArtifactRef | undefined) => store.getBytes(ref!);

describe('title embeddings', () => {
  it('stand in the order of the titles, whatever tiles they were computed in, finite and apart', async () => {
    const { vectors, size, titleRows } = decodeEmbeddings(await read(tables['embeddings']));
    expect([...titleRows]).toEqual([0, 1, 2, 3, 4, 5, 6]);
    const single = stepInput('encodeTitles', { titles: tables['titles']! }, { ...workshop.model, tileRows: 1 });
    const alone = await runStep(JOBS, single, contextOf(store));
    const { vectors: others } = decodeEmbeddings(await read(alone.outputs['embeddings']));
    vectors.forEach((value, i) => expect(value).toBeCloseTo(others[i]!, 4));
    const rows = Array.from({ length: 7 }, (_, row) => vectors.slice(row * size, (row + 1) * size).join());
    expect(new Set(rows).size).toBe(7);
  });

  it('refuse a model whose files have changed', async () => {
    const model = { ...workshop.model.model, digest: '0'.repeat(64) };
    const input = stepInput('encodeTitles', { titles: tables['titles']! }, { ...workshop.model, model, tileRows: 3 });
    await expect(runStep(JOBS, input, contextOf(store))).rejects.toMatchObject({ code: 'MODEL_CHANGED' });
  });
});

describe('an evaluation', () => {
  it('ranks the true title of every window in the whole catalogue', async () => {
    const { result, outputs } = await evaluate(evaluation());
    const predictions = decodePredictions(await read(outputs['predictions']));
    expect(predictions.map(({ windowId }) => windowId)).toEqual(WINDOWS.map(({ windowId }) => windowId));
    predictions.forEach(({ targetRow, rank, nearest, valid, text }, i) => {
      expect(targetRow).toBe(CATALOGUE.items[WINDOWS[i]!.target]!.titleRow);
      expect(rank).toBeGreaterThanOrEqual(1);
      expect(rank).toBeLessThanOrEqual(7);
      expect(rank === 1).toBe(nearest === targetRow);
      expect(valid).toBe(text !== '');
    });
    expect(result.windows).toBe(10);
    expect(result.hr['7']).toBe(1);
    expect(result.hr['1']).toBe(predictions.filter(({ rank }) => rank === 1).length / 10);
    expect(result.distinctTexts).toBe(new Set(predictions.map(({ text }) => text)).size);
  });

  it('answers otherwise without the adapter, and the base model needs none', async () => {
    const { adapter: _, ...without } = tables;
    const [tuned, plain] = [await evaluate(evaluation()), await evaluate(evaluation({}, without))];
    expect(plain.result.windows).toBe(10);
    expect(plain.outputs['predictions']!.sha256).not.toBe(tuned.outputs['predictions']!.sha256);
  });

  it('stopped between decode steps and resumed gives the same bytes', async () => {
    const whole = await evaluate(evaluation());
    const other = await workshop.newStore();
    for (const ref of Object.values(tables)) await other.putBytes(await read(ref));
    await expect(JOBS.evaluate!(evaluation(), contextOf(other, { drainAt: 7 }))).rejects.toThrow(DrainedError);
    expect((await listTiles(other, evaluation().key)).length).toBe(1);
    const resumed = await evaluate(evaluation(), other);
    expect(resumed.outputs).toEqual(whole.outputs);
    expect(resumed.result).toEqual(whole.result);
  });

  it('in two shards gives the same bytes; the shard that ends first gives nothing', async () => {
    const whole = await evaluate(evaluation());
    const other = await workshop.newStore();
    for (const ref of Object.values(tables)) await other.putBytes(await read(ref));
    const shard = (index: number) => {
      const input = evaluation();
      return { ...input, circumstances: { ...input.circumstances, shard: { index, count: 2 } } };
    };
    expect(await evaluate(shard(1), other)).toBeNull();
    const { outputs, result } = await evaluate(shard(0), other);
    expect(outputs).toEqual(whole.outputs);
    expect(result).toEqual(whole.result);
  });

  it('constrained to the catalogue answers with existing titles only', async () => {
    const free = await evaluate(evaluation({ generation: { ...WHOLE_TITLES, constrain: 'none' } }));
    expect(free.result.existingTitles).toBeLessThan(1);
    const { result, outputs } = await evaluate(evaluation({ generation: WHOLE_TITLES }));
    const known = new Set(CATALOGUE.titles.map(({ title }) => title));
    for (const { text, exists, distance, nearest } of decodePredictions(await read(outputs['predictions']))) {
      expect(known).toContain(text);
      expect(exists).toBe(true);
      // The text is embedded as its title was, up to the rounding of another tile.
      expect(CATALOGUE.titles[nearest]!.title).toBe(text);
      expect(distance).toBeGreaterThanOrEqual(0);
    }
    expect(result).toMatchObject({ existingTitles: 1, invalid: 0 });
  });
});

describe('self-distillation', () => {
  const distil = (change: Partial<SelfDistillParams> = {}) =>
    runStep<SelfDistillResult>(JOBS, stepInput('selfDistill', tables, { ...base(), ...change }), contextOf(store));

  it('keeps all beams of every window, best first, and the tokens of the first', async () => {
    const { result, outputs } = await distil();
    const rows = decodeDistilled(await read(outputs['distilled']));
    expect(rows.map(({ windowId }) => windowId)).toEqual(WINDOWS.map(({ windowId }) => windowId));
    for (const { text, tokenIds, logProbability, beamTexts, beamScores } of rows) {
      expect(beamTexts.length).toBe(2);
      expect(beamTexts[0]).toBe(text);
      expect(beamScores[0]).toBe(logProbability);
      expect(beamScores[0]).toBeGreaterThanOrEqual(beamScores[1]!);
      expect(tokenIds.length).toBeLessThanOrEqual(4);
      expect(tokenIds).not.toContain(workshop.tokenizer.eosTokenId);
      expect(workshop.tokenizer.decode(tokenIds)).toContain(text);
    }
    expect(result).toMatchObject({ rows: 10, distinctTexts: new Set(rows.map(({ text }) => text)).size });
  });

  it('constrained to the catalogue has existing titles on every beam, in a title’s own tokens', async () => {
    const { result, outputs } = await distil({ generation: WHOLE_TITLES });
    expect(result.existingTitles).toBe(10);
    const known = CATALOGUE.titles.map(({ title }) => title);
    const targets = known.map((title) => workshop.tokenizer.encode(`"${title}"`).join());
    for (const { beamTexts, tokenIds } of decodeDistilled(await read(outputs['distilled']))) {
      for (const text of beamTexts) expect(known).toContain(text);
      expect(new Set(beamTexts).size).toBe(2);
      expect(targets).toContain(tokenIds.join());
    }
  });
});

describe('the distance', () => {
  const measure = (prompts: number, change: Partial<MeasureDistanceParams> = {}) =>
    runStep<DistanceResult>(
      JOBS,
      stepInput('measureDistance', tables, { ...base(), prompts, ...change }),
      contextOf(store),
    );

  it('is the mean over the first prompts, and that of each prompt is kept', async () => {
    const { result, outputs } = await measure(6);
    const rows = decodeDistances(await read(outputs['distances']));
    expect(rows.map(({ windowId }) => windowId)).toEqual(WINDOWS.slice(0, 6).map(({ windowId }) => windowId));
    expect(result.prompts).toBe(6);
    expect(result.distance).toBeCloseTo(rows.reduce((sum, { distance }) => sum + distance, 0) / 6, 12);
    expect(result.distance).toBeGreaterThan(0);
  });

  it('takes all prompts when there are fewer than asked for', async () => {
    expect((await measure(99)).result.prompts).toBe(10);
  });

  it('is 0, up to rounding, where the answer is the true title', async () => {
    const { outputs } = await measure(10, { generation: WHOLE_TITLES });
    const rows = decodeDistances(await read(outputs['distances']));
    rows.forEach(({ text, distance }, i) => {
      const same = text === CATALOGUE.items[WINDOWS[i]!.target]!.title;
      if (same) expect(distance).toBeLessThan(1e-3);
      else expect(distance).toBeGreaterThan(0.1);
    });
  });
});
