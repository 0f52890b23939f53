import type { BackendChoice } from '../../workers/backend-choices.ts';

/** What the runs compute on that are killed; another one is for a machine that has it: `SOFTFLOW_TEST_BACKEND=webgpu`. */
export const KILLED_BACKEND = (process.env['SOFTFLOW_TEST_BACKEND'] ?? 'tensorflow') as BackendChoice;
