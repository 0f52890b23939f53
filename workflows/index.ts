/** Entry of the workflow bundle. */
export { promotionWorkflow } from './promotion-workflow.ts';
export { softWorkflow } from './soft-workflow.ts';
