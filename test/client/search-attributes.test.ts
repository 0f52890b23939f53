import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { expect, test } from 'vitest';
import { searchAttributes } from '../../client/search-attributes.ts';
import { attributeArguments } from '../../workers/supervisor.ts';
import { ATTRIBUTES } from '../../workflows/attribute-names.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';
import type { softWorkflow } from '../../workflows/soft-workflow.ts';
import { startTestWorker, tinyConfig } from '../support/soft-run.ts';
import { startTestServer } from '../support/temporal.ts';

const config = RunConfigSchema.parse(
  tinyConfig({ train: { maxEpochs: 1, batchSize: 8, microBatchSize: 4 }, evaluation: { ks: [10], zeroShot: false } }),
);

test('a server that does not know the attributes, or does not say, gets none', async () => {
  const clientOf = (listSearchAttributes: () => Promise<object>) =>
    ({
      options: { namespace: 'default' },
      connection: { operatorService: { listSearchAttributes } },
    }) as unknown as Client;
  const some = { customAttributes: { SoftflowStage: 2 } };
  expect(
    await searchAttributes(
      clientOf(async () => some),
      config,
    ),
  ).toEqual({});
  expect(
    await searchAttributes(
      clientOf(() => Promise.reject(new Error('denied'))),
      config,
    ),
  ).toEqual({});
});

test('a run is found by its attributes, which follow it across a fresh history', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'softflow-attributes-'));
  const server = await startTestServer({ args: attributeArguments() });
  const worker = await startTestWorker(server, join(folder, 'store'), 'attributes');
  try {
    const attributes = await searchAttributes(server.client, config);
    expect(attributes.typedSearchAttributes).toHaveLength(5);
    const handle = await server.client.workflow.start<typeof softWorkflow>('softWorkflow', {
      taskQueue: 'attributes',
      workflowId: `tiny-${randomUUID().slice(0, 8)}`,
      args: [{ config, heartbeatTimeoutSeconds: 3, maxHistoryEvents: 30 }],
      ...attributes,
    });
    await handle.result();
    const { typedSearchAttributes, runId } = await handle.describe();
    expect(runId).not.toBe(handle.firstExecutionRunId);
    expect(typedSearchAttributes.get(ATTRIBUTES.stage)).toBe('report');
    expect(typedSearchAttributes.get(ATTRIBUTES.model)).toBe('folder tiny-llama');
    const best = typedSearchAttributes.get(ATTRIBUTES.bestHr10);
    const found: string[] = [];
    const query = `SoftflowName = 'tiny' AND SoftflowDataset = 'planted' AND SoftflowBestHR10 >= ${best}`;
    await expect
      .poll(async () => {
        for await (const { workflowId } of server.client.workflow.list({ query })) found.push(workflowId);
        return found;
      })
      .toContain(handle.workflowId);
  } finally {
    worker.shutdown();
    await worker.done;
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
