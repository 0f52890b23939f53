/** What a team's own worker runs: a workflow of theirs beside softflow's. */
import { proxyActivities } from '@temporalio/workflow';

export * from '../../workflows/index.ts';

const { greet } = proxyActivities<{ greet(name: string): Promise<string> }>({ startToCloseTimeout: '10 seconds' });

export async function greetingWorkflow(name: string): Promise<string> {
  return greet(name);
}
