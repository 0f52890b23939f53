/** Entry of the workflow bundle. */
export { promotionWorkflow } from './promotion-workflow.ts';
export { retrainWorkflow } from './retrain-workflow.ts';
export { softWorkflow } from './soft-workflow.ts';
export { sweepWorkflow } from './sweep-workflow.ts';
