import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { ensureTemporalServer } from '../../setup/temporal.ts';
import { useTemporaryCache } from './temporary-cache.ts';

vi.mock('@temporalio/testing', () => ({
  TestWorkflowEnvironment: { createLocal: () => Promise.reject(new Error('the download site does not answer')) },
}));
const root = useTemporaryCache();

it('names each way in which no Temporal server could be had, and what to do', async () => {
  vi.stubEnv('PATH', join(root(), 'nothing'));
  vi.stubEnv('SOFTFLOW_PYTHON', join(root(), 'no-such-python'));
  await expect(ensureTemporalServer()).rejects.toMatchObject({
    code: 'SETUP_NO_TEMPORAL',
    retryable: true,
    message: expect.stringMatching(/no-such-python[\s\S]*does not answer[\s\S]*TEMPORAL_ADDRESS/),
  });
});
