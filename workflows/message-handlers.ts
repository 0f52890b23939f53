import { ApplicationFailure, setHandler } from '@temporalio/workflow';
import { pauseUpdate, resumeUpdate, setCurriculumAlphaUpdate, statusQuery, stopUpdate } from './messages.ts';
import { type RunPhase, type SoftState, toStatus } from './run-state.ts';
import { interrupt, type Run } from './steps.ts';

/** Answers the query and takes the updates of `messages.ts`; validators refuse what makes no sense before it is recorded. */
export function handleMessages(run: Run): void {
  const { state } = run;
  const status = () => toStatus(run.id, phaseOf(state), state);
  setHandler(statusQuery, status);
  setHandler(
    pauseUpdate,
    () => {
      state.paused = true;
      interrupt(run);
      return status();
    },
    { validator: () => refuseIf(state.paused, 'The run is paused already.') },
  );
  setHandler(
    resumeUpdate,
    () => {
      state.paused = false;
      delete state.stopAfter;
      return status();
    },
    {
      validator: () =>
        refuseIf(!state.paused && state.stopAfter !== 'round', 'The run is neither paused nor about to stop.'),
    },
  );
  setHandler(
    stopUpdate,
    ({ after }) => {
      state.stopAfter = after;
      if (after === 'now') interrupt(run);
      return status();
    },
    {
      validator: (request) =>
        refuseIf(request?.after !== 'now' && request?.after !== 'round', "Expected `after` to be 'now' or 'round'."),
    },
  );
  setHandler(
    setCurriculumAlphaUpdate,
    (value) => {
      state.curriculumAlpha = value;
      return status();
    },
    {
      validator: (value) =>
        refuseIf(
          !(Number.isFinite(value) && value >= 0),
          `Expected curriculumAlpha to be a number of 0 or more, got ${value}.`,
        ),
    },
  );
}

function refuseIf(refused: boolean, message: string): void {
  if (refused) throw ApplicationFailure.nonRetryable(message, 'UPDATE_REFUSED');
}

function phaseOf(state: SoftState): RunPhase {
  if (state.phase) return state.phase;
  if (state.stopAfter) return 'stopping';
  return state.paused ? 'paused' : 'running';
}
