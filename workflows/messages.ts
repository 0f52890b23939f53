import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { RetrainStatus } from './retrain-state.ts';
import type { RunStatus } from './run-state.ts';

/** Where the run stands; costs no history. */
export const statusQuery = defineQuery<RunStatus>('status');

/** Stops at the next micro-batch or tile, keeps what is done, and waits for `resume`. */
export const pauseUpdate = defineUpdate<RunStatus>('pause');

/** Goes on after `pause`; also takes back a `stop` after the round. */
export const resumeUpdate = defineUpdate<RunStatus>('resume');

/** The same, as far as a step by its id only. */
export const resumeUntilUpdate = defineUpdate<RunStatus, [string]>('resumeUntil');

/** Ends the run at the next micro-batch or tile (`now`) or after the epoch in progress (`round`); it can be resumed. */
export const stopUpdate = defineUpdate<RunStatus, [{ after: 'now' | 'round' }]>('stop');

/** `pause`, `resume` and `stop` from the sweep that the run belongs to: a workflow cannot send updates. */
export const steerSignal = defineSignal<[Steer]>('steer');
export type Steer = 'pause' | 'resume' | 'stop now' | 'stop after round';

/** Another pace of the curriculum, from the next round on. */
export const setCurriculumAlphaUpdate = defineUpdate<RunStatus, [number]>('setCurriculumAlpha');

/** Where a retrain stands. */
export const retrainStatusQuery = defineQuery<RetrainStatus>('retrainStatus');
