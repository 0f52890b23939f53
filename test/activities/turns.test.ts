import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { StepInput } from '../../activities/contracts.ts';
import { type Attempt, leaveToOthers } from '../../activities/turns.ts';
import { openStore, type Store } from '../../artifacts/store.ts';

const KEY = 'a'.repeat(64);
const SCHEDULED = 1;
const STARTED = 2;
const PAUSED = 4;
const mine: Attempt = { workflowId: 'mine', runId: 'm', activityId: '7', number: 1 };
const other: Attempt = { workflowId: 'other', runId: 'o', activityId: '5', number: 2 };
const atWork = { activityId: '5', attempt: 2, state: STARTED };

let folder: string;
let store: Store;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-turns-'));
  store = await openStore(folder, { create: true });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Asks for the step where the server knows the other run's pending activities, or nothing of it. */
async function ask(pendingActivities: object[] | undefined, step = 'trainEpoch'): Promise<string> {
  const describe = async () => {
    if (!pendingActivities) throw new WorkflowNotFoundError('not found', 'other', 'o');
    return { raw: { pendingActivities } };
  };
  const workflow = { getHandle: () => ({ describe }) };
  const client = { workflow, withAbortSignal: (_: unknown, work: () => unknown) => work() } as unknown as Client;
  const { workflowId, runId, activityId, number } = mine;
  const info = { workflowExecution: { workflowId, runId }, activityId, attempt: number };
  const input = { step, key: KEY } as StepInput<unknown>;
  return new MockActivityEnvironment(info, { client, logger: new DefaultLogger('ERROR') })
    .run(leaveToOthers, store, input)
    .then(
      () => 'go on',
      ({ type, nonRetryable }) => `${type}, retryable: ${!nonRetryable}`,
    );
}

test('an epoch is left to the run that was first, for as long as the server counts its attempt as at work', async () => {
  expect(await ask([atWork])).toBe('go on');
  await store.addTelemetry(KEY, { attempt: { ...other, number: 1 } });
  await store.addTelemetry(KEY, { attempt: other });
  expect(await ask([atWork])).toBe('STEP_AT_WORK, retryable: true');
  for (const pending of [
    [],
    [{ ...atWork, state: SCHEDULED }],
    [{ ...atWork, state: PAUSED }],
    [{ ...atWork, attempt: 3 }],
    [{ ...atWork, activityId: '6' }],
    undefined,
  ])
    expect(await ask(pending)).toBe('go on');
});

test('of two that come at once the first to be noted goes on', async () => {
  await store.addTelemetry(KEY, { attempt: mine });
  await store.addTelemetry(KEY, { attempt: other });
  expect(await ask([atWork])).toBe('go on');
});

test('steps of tiles are shared instead, and earlier attempts of the same run are no obstacle', async () => {
  await store.addTelemetry(KEY, { attempt: { ...mine, number: 0 } });
  expect(await ask([{ activityId: '7', attempt: 0, state: STARTED }])).toBe('go on');
  await store.addTelemetry(KEY, { attempt: other });
  expect(await ask([atWork], 'evaluate')).toBe('go on');
});
