import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { evaluatePopularity } from '../../activities/evaluate-popularity.ts';
import { toFault } from '../../activities/faults.ts';
import { lookUpStep } from '../../activities/look-up-step.ts';
import { parseStepInput } from '../../activities/step-input.ts';
import { finishStep, keyOfStep } from '../../activities/step-result.ts';
import { saveCheckpoint } from '../../artifacts/checkpoints.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { putTile } from '../../artifacts/tiles.ts';
import { decodePredictions, encodeItems, encodeTitles, encodeWindows } from '../../datasets/tables.ts';
import { SoftflowError } from '../../errors.ts';
import { aRef, evaluateParams } from './step-inputs.ts';

let folder: string;
let store: Store;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-steps-'));
  store = await openStore(folder, { create: true });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const circumstances = {
  runId: 'run',
  checkpointEverySeconds: 60,
  allowDifferentBackend: false,
  stallTimeoutSeconds: 600,
};
const inputs = { windows: aRef('1'), items: aRef('2'), titles: aRef('3'), embeddings: aRef('4') };

test('a step’s key is of the model’s digest, wherever its files lie', () => {
  const key = keyOfStep('evaluate', inputs, evaluateParams);
  const { digest } = evaluateParams.model;
  const moved = { ...evaluateParams, model: { source: { gguf: '/elsewhere.gguf' }, digest } };
  expect(keyOfStep('evaluate', inputs, moved)).toBe(key);
  const other = { ...evaluateParams, model: { ...evaluateParams.model, digest: 'b'.repeat(64) } };
  expect(keyOfStep('evaluate', inputs, other)).not.toBe(key);
  expect(keyOfStep('measureDistance', inputs, evaluateParams)).not.toBe(key);
  expect(keyOfStep('evaluate', { ...inputs, items: aRef('9') }, evaluateParams)).not.toBe(key);
});

test('a prepared data set’s key is of the source’s digest, wherever its files lie', () => {
  const data = (source: unknown, digest: string) => ({ data: { source, kCore: 10 }, digest, seed: 42 });
  const key = keyOfStep('prepareData', {}, data({ csv: '/a.csv' }, 'a'.repeat(64)));
  expect(keyOfStep('prepareData', {}, data({ csv: '/b.csv' }, 'a'.repeat(64)))).toBe(key);
  expect(keyOfStep('prepareData', {}, data({ csv: '/a.csv' }, 'b'.repeat(64)))).not.toBe(key);
});

test('a look-up finds what is done and tells what an unfinished step goes on from', async () => {
  const call = { step: 'evaluate' as const, inputs, params: evaluateParams };
  const { key, found, resumable } = await lookUpStep(store, call);
  expect([found, resumable]).toEqual([undefined, undefined]);
  const fingerprint = { backend: 'test' };
  await putTile(store, key, 0, { bytes: Buffer.from('tile'), meta: null, fingerprint });
  expect(await lookUpStep(store, call)).toEqual({ key, resumable: '1 tile' });
  await saveCheckpoint(store, key, { position: [1, 2, 3], fingerprint, blob: Buffer.from('state') });
  expect(await lookUpStep(store, call)).toEqual({ key, resumable: 'checkpoint 1.2.3' });
  const outputs = { predictions: await store.putBytes(Buffer.from('x')) };
  const telemetry = { seconds: 1, resumes: 0 };
  await finishStep(store, { ...call, key }, { outputs, result: { stepLosses: [1], n: 2 }, fingerprint, telemetry });
  expect(await lookUpStep(store, call)).toMatchObject({ key, found: { reused: true, result: { n: 2 }, outputs } });
});

test('an input of a step names every fault at once', () => {
  const good = { step: 'evaluate', key: 'c'.repeat(64), inputs, params: evaluateParams, circumstances };
  expect(parseStepInput(good)).toEqual(good);
  const bad = { ...evaluateParams, precision: 'f16', generation: { ...evaluateParams.generation, beamWidth: 0 } };
  for (const [change, fault] of [
    [{ params: bad }, /precision[\s\S]*beamWidth/],
    [{ inputs: { windows: aRef('1') } }, /items, titles, embeddings/],
    [{ key: 'x' }, /hex/],
    [{ step: 'evaluat' }, /step/],
    [{ inputs: { ...inputs, adapter: { ...aRef('5'), uri: '../../etc/passwd' } } }, /uri/],
  ] as const)
    expect(() => parseStepInput({ ...good, ...change })).toThrowError(
      expect.objectContaining({ code: 'INPUT_INVALID', message: expect.stringMatching(fault) }),
    );
});

test('errors keep their code; only what may pass is tried again', () => {
  expect(toFault(new SoftflowError('STORE_FULL', 'full', { details: { path: '/x' } }))).toEqual({
    code: 'STORE_FULL',
    message: 'full',
    retryable: false,
    details: { path: '/x' },
  });
  expect(toFault(Object.assign(new Error('reset'), { code: 'ECONNRESET' }))).toMatchObject({ retryable: true });
  expect(toFault(new TypeError('x is undefined'))).toMatchObject({ code: 'INTERNAL', retryable: false });
  expect(toFault('text')).toMatchObject({ message: 'text', retryable: false });
});

test('popularity ranks by the targets of the train windows, ties all at the last place among them', async () => {
  const titles = [5, 9, 5, 0].map((popularity, row) => ({ title: `T${row}`, firstItem: row, popularity }));
  const items = titles.map(({ title }, row) => ({ itemId: String(row), title, titleRow: row }));
  const windows = [0, 1, 2, 3].map((target) => ({
    windowId: `u:${target}`,
    userId: 'u',
    targetIndex: target,
    history: [],
    target,
    targetTimeMs: 0n,
  }));
  const input = {
    step: 'evaluatePopularity' as const,
    key: 'd'.repeat(64),
    inputs: {
      titles: await store.putBytes(encodeTitles(titles)),
      items: await store.putBytes(encodeItems(items)),
      windows: await store.putBytes(encodeWindows(windows)),
    },
    params: { ks: [1, 3] },
    circumstances,
  };
  const { outputs, result } = await evaluatePopularity(store, input, () => {});
  const predictions = decodePredictions(await store.getBytes(outputs.predictions));
  expect(predictions.map(({ rank }) => rank)).toEqual([3, 1, 3, 4]);
  expect(predictions.map(({ nearest }) => nearest)).toEqual([1, 1, 1, 1]);
  expect(result.hr).toEqual({ 1: 0.25, 3: 0.75 });
  // 1 of rank 1 and two of rank 3: (1 + 2 / log2(4)) / 4
  expect(result.ndcg['3']).toBeCloseTo(0.5, 12);
  expect(result).not.toHaveProperty('existingTitles');
});
