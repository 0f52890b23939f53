import { afterAll, beforeAll, expect, it } from 'vitest';
import type { StepResult, TrainEpochResult } from '../../../activities/contracts.ts';
import { JOBS } from '../../../activities/jobs/index.ts';
import { openTensorflow } from '../../model/reference.ts';
import { contextOf, runStep, stepInput, Workshop } from './fixtures.ts';

let workshop: Workshop;
beforeAll(async () => {
  await openTensorflow();
  workshop = await Workshop.open();
});
afterAll(() => workshop.remove());

it('an epoch says how many tokens it trained a second and what share of the machine it used', async () => {
  const store = await workshop.newStore();
  const { items, windows, distilled } = await workshop.putTables(store);
  const input = stepInput('trainEpoch', { items, windows, distilled }, workshop.training);
  const { telemetry }: StepResult<TrainEpochResult> = await runStep<TrainEpochResult>(JOBS, input, contextOf(store));
  expect(telemetry.tokensPerSecond).toBeGreaterThan(telemetry.rate!);
  expect(telemetry.computeSeconds).toBeGreaterThan(0);
  expect(telemetry.computeSeconds).toBeLessThanOrEqual(telemetry.seconds + 0.001);
  expect(telemetry.mfu).toBeGreaterThan(0);
  expect(telemetry.mfu).toBeLessThan(1.5);
});
