/** What every view of a sweep, and whoever begins one, needs of its rules. */
export { CIRCUMSTANCES } from '../workflows/step-params.ts';
export { MAX_SWEEP_RUNS, ranked, rungsOf, type Settings, settingsText } from '../workflows/sweep-state.ts';
