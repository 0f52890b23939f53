/** Entry of the workflow bundle. */
export { softWorkflow } from './soft-workflow.ts';
