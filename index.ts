/**
 * softflow's typed API: what the command does, for programs. See examples/.
 *
 * @example
 * const config = defineRun({ model: { source: { registry: 'smollm2-135m-instruct' } }, data: { source: { planted: {} } } });
 * const { target } = await ensureEmbedded();
 * const runs = new Runs({ client: await connect(target), store: await openStore('.softflow/store', { create: true }) });
 * const status = await runs.result(await runs.start(config));
 */

export type {
  Metrics,
  Progress,
  StepInput,
  StepName,
  StepResult,
  StepTelemetry,
} from './activities/contracts.ts';
export { CONTRACT_VERSIONS } from './activities/contracts.ts';
export { type Activities, type ActivityDeps, createActivities } from './activities/create-activities.ts';
export type { ArtifactRef } from './artifacts/artifact-ref.ts';
export type { AuditRow, Decision } from './artifacts/decisions.ts';
export { currentRelease, type ReleaseMove, releaseMoves } from './artifacts/releases.ts';
export { openStore, type Store } from './artifacts/store.ts';
export { type LoadedConfig, loadConfigFile } from './cli/config-file.ts';
export { defineRun } from './cli/define-run.ts';
export { type ExportFormat, type ExportOptions, type ExportResult, exportRun } from './cli/export-run.ts';
export { type RecommendOptions, type RecommendResult, recommend } from './cli/recommend.ts';
export { configuredTarget, connect, type TemporalTarget } from './client/connect.ts';
export { type ListedRelease, Releases, type ReleasesOptions } from './client/releases.ts';
export { type ReleasedRun, readReleasedRun, readRunFile } from './client/run-results.ts';
export { writeRunView } from './client/run-view.ts';
export { type RunLook, Runs, type RunsOptions } from './client/runs.ts';
export type { ScheduledRun } from './client/scheduled-runs.ts';
export { type ScheduleInput, Schedules, type SchedulesOptions, type ScheduleView } from './client/schedules.ts';
export { type Inspection, inspectFile } from './datasets/inspect/inspect-data.ts';
export { SoftflowError } from './errors.ts';
export { compareRuns, type RunComparison } from './report/compare.ts';
export type { RunSummary } from './report/summary-types.ts';
export { type Embedded, type EmbeddedOptions, ensureEmbedded, stopEmbedded } from './workers/embedded.ts';
export { type RunningWorker, type SoftflowWorkerOptions, startWorker } from './workers/worker.ts';
export type { PromotionOutcome } from './workflows/promotion-state.ts';
export type { RetrainOutcome, RetrainStatus } from './workflows/retrain-state.ts';
export { type RunConfig, type RunConfigInput, RunConfigSchema } from './workflows/run-config.ts';
export type { EpochRow, RunPhase, RunStatus, Stage, StepStatus } from './workflows/run-state.ts';
export { DEFAULT_TASK_QUEUE, type QueueKind, queueName } from './workflows/task-queues.ts';
