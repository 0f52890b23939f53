import { ApplicationFailure, setHandler } from '@temporalio/workflow';
import {
  pauseUpdate,
  resumeUpdate,
  type Steer,
  setCurriculumAlphaUpdate,
  statusQuery,
  steerSignal,
  stopUpdate,
} from './messages.ts';
import { type RunPhase, type SoftState, toStatus } from './run-state.ts';
import { interrupt, type Run } from './steps.ts';

/** Answers the query and takes the updates of `messages.ts`; validators refuse what makes no sense before it is recorded. */
export function handleMessages(run: Run): void {
  const { state } = run;
  const status = () => toStatus(run.id, phaseOf(state), state);
  setHandler(statusQuery, status);
  setHandler(steerSignal, (wish) => steer(run, wish));
  setHandler(
    pauseUpdate,
    () => {
      steer(run, 'pause');
      return status();
    },
    { validator: () => refuseIf(state.paused, 'The run is paused already.') },
  );
  setHandler(
    resumeUpdate,
    (request) => {
      steer(run, 'resume');
      if (request) state.lastStep = { id: request.lastStep, reached: false };
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
      steer(run, after === 'now' ? 'stop now' : 'stop after round');
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

function steer(run: Run, wish: Steer): void {
  const { state } = run;
  if (wish === 'pause') state.paused = true;
  else if (wish === 'resume') {
    state.paused = false;
    delete state.stopAfter;
  } else state.stopAfter = wish === 'stop now' ? 'now' : 'round';
  if (wish === 'pause' || wish === 'stop now') interrupt(run);
}

export function refuseIf(refused: boolean, message: string): void {
  if (refused) throw ApplicationFailure.nonRetryable(message, 'UPDATE_REFUSED');
}

function phaseOf(state: SoftState): RunPhase {
  if (state.phase) return state.phase;
  if (state.stopAfter) return 'stopping';
  return state.paused ? 'paused' : 'running';
}
