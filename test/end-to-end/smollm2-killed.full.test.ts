import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfigFile } from '../../cli/config-file.ts';
import { seededRandom } from '../artifacts/fixtures.ts';
import { DisturbedRun, type PlannedKill } from '../support/disturbed-run.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';

/** Tiles and checkpoints as small as they can be, so that a kill can lie between two. */
const CHANGES = ['checkpoint.every=0.5', 'generation.tileRows=4', 'encode.tileRows=256', 'train.microBatchSize=4'];
const { config } = loadConfigFile(fileURLToPath(new URL('./smollm2.yaml', import.meta.url)), {
  overrides: CHANGES,
});
const KILLS = [
  { step: 'sft-1-train', victims: 'worker' },
  { step: 'self-distil', victims: 'trainer' },
  { step: 'soft-2-train', victims: 'both' },
  { step: 'soft-2-distance', victims: 'trainer' },
  { step: 'test-soft', victims: 'worker' },
] as const;

let folder: string;
let server: TestServer;
const runs: DisturbedRun[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-smollm2-killed-'));
  server = await startTestServer({ database: join(folder, 'temporal.db') });
});
afterAll(async () => {
  for (const run of runs) await run.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function open(name: string, plan: Parameters<typeof DisturbedRun.open>[3] = []): Promise<DisturbedRun> {
  const run = await DisturbedRun.open(server, folder, name, plan);
  runs.push(run);
  run.addWorker();
  return run;
}

test('SmolLM2 on MovieLens-100K ends with the same bytes when trainer, worker or both are killed in every kind of step (R2)', async (context) => {
  const calm = await open('calm');
  const status = await (await calm.start(config)).result();
  expect(status.sft[1]?.trainLoss).toBeLessThan(status.sft[0]?.trainLoss as number);
  expect(status.curriculum[1]?.lambda).toBeLessThan(1);

  const random = seededRandom(Number(process.env['SOFTFLOW_FAULT_SEED'] ?? 1));
  const keyOf = (id: string) => status.steps.find((step) => step.id === id)?.key as string;
  const kills: PlannedKill[] = KILLS.map((kill) => {
    const moments = calm.holds.moments().get(keyOf(kill.step)) as number;
    const first = Math.ceil(moments / 3);
    return { ...kill, moment: first + random(moments - first) };
  });
  const run = await open(
    'killed',
    kills.map(({ step, moment }) => ({ key: keyOf(step), moment })),
  );
  const ended = (await run.start(config)).result();
  const early = ended.then(() => Promise.reject(new Error(`ended after ${run.kills.length} kills`)));
  early.catch(() => {});
  for (const [i, kill] of kills.entries()) await Promise.race([run.kill(i, keyOf(kill.step), kill), early]);
  expect(await run.digests(await ended)).toEqual(await calm.digests(status));

  const between = run.kills.filter(({ strictlyBetween }) => strictlyBetween).length;
  expect(between).toBeGreaterThanOrEqual(kills.length / 2);
  const places = run.kills.map((k) => `${k.step} ${k.victims} at ${k.position}, after ${k.saved}`);
  faultFigure(context, kills.length, `SmolLM2: ${between} strictly between two checkpoints; ${places.join('; ')}`);
});
