import { defineQuery, defineUpdate } from '@temporalio/workflow';
import type { SweepStatus } from './sweep-state.ts';

/** Where a sweep stands. */
export const sweepStatusQuery = defineQuery<SweepStatus>('sweepStatus');

/** Holds every run at its next micro-batch or tile, and begins none. */
export const pauseSweepUpdate = defineUpdate<SweepStatus>('pause');

/** Goes on after `pause`. */
export const resumeSweepUpdate = defineUpdate<SweepStatus>('resume');

/** Ends every run now, or after the epoch in progress; the sweep can be resumed. */
export const stopSweepUpdate = defineUpdate<SweepStatus, [{ after: 'now' | 'round' }]>('stop');
