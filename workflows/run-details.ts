import type { EpochRow, SoftState, StepStatus } from './run-state.ts';

const MARK: Record<StepStatus['state'], string> = { pending: ' ', running: '~', run: 'x', reused: 'x' };

/** The run in Markdown, for the details pane of the Temporal UI. */
export function describeRun(state: SoftState): string {
  const steps = state.steps.map(
    ({ label, state: at, resumedFrom }) =>
      `- [${MARK[at]}] ${label}${at === 'reused' ? ' (reused)' : ''}${resumedFrom ? ` (from ${resumedFrom})` : ''}`,
  );
  const rows = [
    ...state.sft.rows.map((row) => line('SFT', row)),
    ...state.curriculum.rows.map((row) => line('SOFT', row)),
  ];
  const table = ['| epoch | lambda | loss | distance | validation HR |', '| --- | --- | --- | --- | --- |', ...rows];
  return [...(rows.length > 0 ? [...table, ''] : []), ...steps].join('\n');
}

function line(stage: string, row: EpochRow): string {
  const hr = Object.entries(row.validation.hr)
    .map(([k, value]) => `@${k} ${value.toFixed(3)}`)
    .join(' ');
  const distance = row.distanceAfter === null ? '' : row.distanceAfter.toFixed(3);
  return `| ${stage} ${row.epoch} | ${row.lambda.toFixed(3)} | ${row.trainLoss.toFixed(4)} | ${distance} | ${hr} |`;
}
