import { SoftflowError } from '../errors.ts';

/** Why a run is not taken up. */
export function active(runId: string): SoftflowError {
  return new SoftflowError('RUN_ACTIVE', `Run ${runId} is running already; \`softflow status ${runId}\` shows it.`);
}

/** Turns the refusal of a workflow that is neither paused nor about to stop into that of its run. */
export function refusedAsActive(runId: string): (error: unknown) => never {
  return (error) => {
    throw error instanceof SoftflowError && error.code === 'UPDATE_REFUSED' ? active(runId) : error;
  };
}

export function notEnded(runId: string, from: string): SoftflowError {
  return new SoftflowError(
    'RUN_ACTIVE',
    `Run ${runId} has not ended. Stop it before it begins again at ${from}: softflow stop ${runId}`,
  );
}

export function completed(runId: string): SoftflowError {
  return new SoftflowError(
    'RUN_COMPLETED',
    `Run ${runId} is completed; start another run for other settings, or say from where to compute it once more: ` +
      `softflow resume ${runId} --from <step>`,
  );
}

/** A run of a sweep is the sweep's to move. */
export function waiting(runId: string): SoftflowError {
  const sweep = runId.replace(/-\d+$/, '');
  const next = `\`softflow status ${sweep}\` shows them; \`softflow resume ${sweep}\` takes up a sweep that has ended.`;
  return new SoftflowError('RUN_ACTIVE', `Run ${runId} waits for the other runs of its sweep. ${next}`);
}
