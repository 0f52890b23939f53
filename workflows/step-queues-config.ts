import * as z from 'zod';

const queue = z
  .string()
  .min(1)
  .max(200)
  .optional()
  .describe("Task queue on which a worker of your own waits for this step; softflow's by default.");

/** Steps that a worker of your own serves (see docs/activities.md), each with the task queue on which it waits for them. */
export const StepQueuesSchema = z
  .strictObject({
    prepareData: queue,
    encodeTitles: queue,
    trainEpoch: queue,
    selfDistill: queue,
    measureDistance: queue,
    evaluate: queue,
    evaluatePopularity: queue,
    release: queue,
    renderReport: queue,
  })
  .describe('Task queues of steps that a worker of your own serves; all others go to the queues of softflow.');
