// Workflows of the worker in own-worker.mjs: softflow's, and one of the team's that trains and tells.
import { executeChild, proxyActivities, workflowInfo } from '@temporalio/workflow';
import { softWorkflow } from 'softflow/workflows';

export * from 'softflow/workflows';

const { announce } = proxyActivities({ startToCloseTimeout: '1 minute' });

/** A run of SOFT as a part of something larger; its run id is the id of the child workflow. */
export async function trainAndAnnounce(config) {
  const runId = `${workflowInfo().workflowId}-soft`;
  const { curriculum } = await executeChild(softWorkflow, { workflowId: runId, args: [{ config }] });
  await announce(`${runId}: ${curriculum.at(-1)?.epoch ?? 0} rounds of the curriculum`);
  return runId;
}
