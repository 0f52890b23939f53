import type { Client } from '@temporalio/client';
import { expect, test } from 'vitest';
import { Builds } from '../../client/builds.ts';

const FAILED_PRECONDITION = 9;

/** A server that knows build 2.0.0 and refuses to make it current so many times. */
function serverThatRefuses(times: number) {
  const asked: string[] = [];
  const workflowService = {
    describeWorkerDeployment: async () => ({
      workerDeploymentInfo: { versionSummaries: [{ deploymentVersion: { buildId: '2.0.0' } }] },
    }),
    setWorkerDeploymentCurrentVersion: async ({ buildId }: { buildId: string }) => {
      asked.push(buildId);
      if (asked.length <= times)
        throw Object.assign(new Error('9'), { code: FAILED_PRECONDITION, details: 'missing active task queues' });
    },
  };
  return { asked, client: { options: { namespace: 'default' }, connection: { workflowService } } as unknown as Client };
}

test('a build whose queues are still coming becomes current when they have come', async () => {
  const { asked, client } = serverThatRefuses(2);
  await new Builds(client).use('2.0.0');
  expect(asked).toEqual(['2.0.0', '2.0.0', '2.0.0']);
});

test('a build that lacks a queue for good is refused with the reason of the server', async () => {
  const { client } = serverThatRefuses(Number.POSITIVE_INFINITY);
  await expect(new Builds(client, 'shop', 0).use('2.0.0')).rejects.toMatchObject({
    code: 'BUILD_NOT_READY',
    retryable: true,
    message: expect.stringContaining('missing active task queues'),
  });
});

test('a build that never came is not waited for', async () => {
  const { asked, client } = serverThatRefuses(Number.POSITIVE_INFINITY);
  await expect(new Builds(client).use('3.0.0')).rejects.toMatchObject({
    code: 'BUILD_NOT_FOUND',
    message: expect.stringContaining('There are 2.0.0'),
  });
  expect(asked).toHaveLength(1);
});
