import { ApplicationFailure, setHandler } from '@temporalio/workflow';
import {
  pauseUpdate,
  resumeUntilUpdate,
  resumeUpdate,
  type Steer,
  setCurriculumAlphaUpdate,
  statusQuery,
  steerSignal,
  stopUpdate,
} from './messages.ts';
import { type RunPhase, type SoftState, toStatus } from './run-state.ts';
import { orderOf } from './step-order.ts';
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
    () => {
      steer(run, 'resume');
      return status();
    },
    { validator: () => refuseUnlessHeld(state) },
  );
  setHandler(
    resumeUntilUpdate,
    (lastStep) => {
      steer(run, 'resume');
      state.lastStep = { id: lastStep, reached: false };
      return status();
    },
    {
      validator: (lastStep) => {
        refuseUnlessHeld(state);
        refuseIf(orderOf(run.config, lastStep) < 0, `Expected the id of a step of this run, got "${lastStep}".`);
      },
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

function refuseUnlessHeld({ paused, stopAfter }: SoftState): void {
  refuseIf(!paused && stopAfter !== 'round', 'The run is neither paused nor about to stop.');
}

export function refuseIf(refused: boolean, message: string): void {
  if (refused) throw ApplicationFailure.nonRetryable(message, 'UPDATE_REFUSED');
}

function phaseOf(state: SoftState): RunPhase {
  if (state.phase) return state.phase;
  if (state.stopAfter) return 'stopping';
  return state.paused ? 'paused' : 'running';
}
