import { SoftflowError } from '../errors.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import { plannedSteps, stepsNamed } from '../workflows/run-plan.ts';
import { type RunStatus, STAGES } from '../workflows/run-state.ts';
import { comesAfter } from '../workflows/step-order.ts';
import { suggest } from './suggest.ts';

/** What of a run is to be done: names of stages (`sft`) or of steps (`sft-2-train`). */
export interface RunPart {
  /** Where it begins: this and every later step is computed once more, beside what was there. */
  from?: string;
  /** Where it stops, once this is done. */
  until?: string;
}

/** The same by the ids of its steps. */
export interface StepRange {
  from?: string;
  lastStep?: string;
}

/** @throws SoftflowError `PART_UNKNOWN`, `PART_REFUSED` for an end before the beginning */
export function stepRange(config: RunConfig, { from, until }: RunPart): StepRange {
  const range = {
    ...(from === undefined ? {} : { from: stepsOf(config, from).first }),
    ...(until === undefined ? {} : { lastStep: stepsOf(config, until).last }),
  };
  if (range.from !== undefined && range.lastStep !== undefined && comesAfter(config, range.from, range.lastStep))
    throw refused(`${until} comes before ${from}, so there is nothing to do between them.`);
  return range;
}

function stepsOf(config: RunConfig, name: string): { first: string; last: string } {
  const found = stepsNamed(config, name);
  if (found) return found;
  const steps = plannedSteps(config).map(({ id }) => id);
  const near = suggest(name, [...STAGES, ...steps]);
  const single = steps.filter((id) => !(STAGES as readonly string[]).includes(id));
  throw new SoftflowError(
    'PART_UNKNOWN',
    `"${name.slice(0, 64)}" is no step of this run${near === undefined ? '.' : `, did you mean "${near}"?`} ` +
      `Its stages are ${STAGES.join(', ')}; single steps are ${single.join(', ')}.`,
    { details: { name, ...(near === undefined ? {} : { near }) } },
  );
}

/** What makes no sense where the run stands. @throws SoftflowError `PART_REFUSED` */
export function requireSense(config: RunConfig, { runId, steps }: RunStatus, { from, lastStep }: StepRange): void {
  const last = steps.findLast(({ key }) => key !== undefined);
  const stands = last ? `it stands at ${last.id}` : 'it has not begun';
  if (from !== undefined && !steps.some(({ id, key }) => id === from && key !== undefined))
    throw refused(
      `Run ${runId} has not come to ${from}: ${stands}. \`softflow resume ${runId}\` goes on from where it is.`,
    );
  if (from !== undefined || lastStep === undefined || !last) return;
  const isDone = last.id === lastStep && (last.state === 'run' || last.state === 'reused');
  if (isDone || comesAfter(config, last.id, lastStep))
    throw refused(
      `Run ${runId} has done ${lastStep}: ${stands}. Name a later step, or with --from one to begin from again.`,
    );
}

/** The copy of growing data is let go once it is prepared. */
export const dataIsGone = (runId: string): SoftflowError =>
  refused(
    `Run ${runId} was begun with a copy of data that grows, which is gone since it was prepared. ` +
      `Go on with what was prepared (--from encode), or start another run for the data as it is now.`,
  );

const refused = (message: string): SoftflowError => new SoftflowError('PART_REFUSED', message);
