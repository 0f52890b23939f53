import { expect, test } from 'vitest';
import { openStore, type Store } from '../../artifacts/store.ts';
import { expiredSteps } from '../../client/retention.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';
import { manifestOf } from '../artifacts/fixtures.ts';
import { MemoryDisk } from '../artifacts/memory-disk.ts';
import { ROOT } from '../artifacts/scenario.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

const key = (id: string) => Buffer.from(id).toString('hex').padEnd(64, '0');

/** Ids of the steps of a run of four epochs a stage; `prefix` keeps two runs apart. */
const STEPS = [
  'prepare',
  'sft-1-train',
  'sft-1-validate',
  'sft-2-train',
  'sft-3-train',
  'soft-1-train',
  'soft-2-train',
  'soft-3-train',
  'release',
  'report',
];

function stepOf(id: string): string {
  if (id.endsWith('-train')) return 'trainEpoch';
  return { prepare: 'prepareData', release: 'release', report: 'renderReport' }[id] ?? 'evaluate';
}

interface Told {
  retention?: object;
  phase?: string;
  /** Steps that are this run's alone begin with its name. */
  own?: string[];
}

/** A run that chose SFT epoch 2 and SOFT epoch 1. */
async function addRun(store: Store, name: string, { retention = {}, phase = 'completed', own = [] }: Told) {
  const source = { model: { source: { folder: 'model' } }, data: { source: { registry: 'movielens-100k' } } };
  await store.putRunRecord(name, 'config', RunConfigSchema.parse({ ...source, retention }));
  const steps = STEPS.map((id) => ({ id, step: stepOf(id), key: key(own.includes(id) ? `${name}${id}` : id) }));
  for (const { id, step, key: stepKey } of steps) {
    const outputs = { made: await store.putBytes(Buffer.from(stepKey)) };
    const params = id === 'release' ? { chosen: { sft: 2, soft: 1 } } : null;
    await store.writeManifest(stepKey, { ...manifestOf(stepKey, outputs), step, params });
  }
  await store.putRunRecord(name, 'status', { phase, steps });
}

const newStore = () => openStore(ROOT, { fs: new MemoryDisk(), create: true });

test('By default everything of a run stays, for good.', async () => {
  const store = await newStore();
  await addRun(store, 'one', {});
  expect(await expiredSteps(store, Date.now() + 1000 * DAY_MS)).toEqual([]);
});

test('With epochs: best the chosen and the last epoch of each stage stay, once the run is completed.', async () => {
  const store = await newStore();
  await addRun(store, 'one', { retention: { epochs: 'best' } });
  expect(await expiredSteps(store)).toEqual([key('sft-1-train'), key('soft-2-train')]);
});

test('After so many days release and report stay and nothing else.', async () => {
  const store = await newStore();
  await addRun(store, 'one', { retention: { days: 30 } });
  expect(await expiredSteps(store, Date.now() + 29 * DAY_MS)).toEqual([]);
  const expected = STEPS.filter((id) => id !== 'release' && id !== 'report').map(key);
  expect(await expiredSteps(store, Date.now() + 31 * DAY_MS)).toEqual(expected);
  await store.forgetManifest(key('prepare'));
  expect(await expiredSteps(store, Date.now() + 31 * DAY_MS)).toEqual(expected.slice(1));
});

test('What another run wants stays, and so does everything of a run that is at work or that nobody understands.', async () => {
  const retention = { days: 1, epochs: 'best' };
  const later = Date.now() + 2 * DAY_MS;
  const store = await newStore();
  await addRun(store, 'one', { retention });
  await addRun(store, 'two', { own: STEPS.filter((id) => id !== 'prepare' && id !== 'sft-1-train') });
  const expired = await expiredSteps(store, later);
  expect(expired).toContain(key('sft-2-train'));
  expect(expired).not.toContain(key('prepare'));
  expect(expired).not.toContain(key('sft-1-train'));

  const running = await newStore();
  await addRun(running, 'one', { retention, phase: 'running' });
  await addRun(running, 'strange', { retention, own: STEPS });
  await running.putRunRecord('strange', 'config', { of: 'another version' });
  expect(await expiredSteps(running, later)).toEqual([]);
});
