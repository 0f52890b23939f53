/**
 * softflow's typed API: what the command does, for programs. See docs/api.md and examples/.
 *
 * @example
 * const config = defineRun({ model: { source: { registry: 'smollm2-135m-instruct' } }, data: { source: { planted: {} } } });
 * const { target } = await ensureEmbedded();
 * const runs = new Runs({ client: await connect(target), store: await openStore('.softflow/store', { create: true }) });
 * const status = await runs.result(await runs.start(config));
 */

export type {
  Circumstances,
  DistanceResult,
  EncodeTitlesParams,
  EncodeTitlesResult,
  EvaluateParams,
  EvaluatePopularityParams,
  JobName,
  MeasureDistanceParams,
  Metrics,
  ModelFiles,
  ModelRef,
  ModelSource,
  PrepareDataParams,
  PrepareDataResult,
  Progress,
  ReleaseParams,
  ReleaseResult,
  RenderReportParams,
  SelfDistillParams,
  SelfDistillResult,
  Sources,
  StepInput,
  StepName,
  StepResult,
  StepTelemetry,
  TrainEpochParams,
  TrainEpochResult,
} from './activities/contracts.ts';
export { CONTRACT_VERSIONS } from './activities/contracts.ts';
export {
  type Activities,
  type ActivityDeps,
  createActivities,
  type LightActivities,
  type LongActivities,
  type StepActivities,
} from './activities/create-activities.ts';
export type { Notification, NotifyInput } from './activities/notify.ts';
export type { Replacements, StepReplacement } from './activities/replace.ts';
export type { Places } from './activities/resolve-sources.ts';
export {
  STEP_ROLES,
  type StepBody,
  type StepInputs,
  type StepOutputs,
  type StepParams,
  type StepResults,
} from './activities/step-contracts.ts';
export { Device, type TensorWorker } from './activities/tensor-worker.ts';
export type { Trainer, TrainerJob } from './activities/trainer.ts';
export type { ArtifactRef } from './artifacts/artifact-ref.ts';
export type { BlobMeta } from './artifacts/blobs.ts';
export type { AuditRow, Decision } from './artifacts/decisions.ts';
export { currentRelease, type ReleaseMove, releaseMoves } from './artifacts/releases.ts';
export { type Manifest, type OpenStoreOptions, openStore, type Store } from './artifacts/store.ts';
export { type LoadedConfig, type LoadOptions, loadConfigFile } from './cli/config-file.ts';
export { defineRun } from './cli/define-run.ts';
export {
  type ExportFormat,
  type ExportOptions,
  type ExportResult,
  type ExportVerification,
  exportRun,
} from './cli/export-run.ts';
export { type PreparedRun, type PrepareRunOptions, prepareRun } from './cli/prepare-run.ts';
export { type RecommendOptions, type RecommendResult, recommend } from './cli/recommend.ts';
export { type Build, Builds } from './client/builds.ts';
export { configuredTarget, connect, type TemporalTarget } from './client/connect.ts';
export { type ListedRelease, Releases, type ReleasesOptions, type Wish } from './client/releases.ts';
export type { RunPart } from './client/run-part.ts';
export { type ReleasedRun, readReleasedRun, readRunFile } from './client/run-results.ts';
export { writeRunView } from './client/run-view.ts';
export { type RunLook, Runs, type RunsOptions, type StartOptions } from './client/runs.ts';
export type { Overlap, SchedulePolicies, ScheduleTimes } from './client/schedule-spec.ts';
export type { ScheduleSummary, ScheduleView } from './client/schedule-view.ts';
export type { ScheduledRun } from './client/scheduled-runs.ts';
export { type ScheduleChange, type ScheduleInput, Schedules, type SchedulesOptions } from './client/schedules.ts';
export type { StepMove } from './client/step-moves.ts';
export { type SweepLook, Sweeps } from './client/sweeps.ts';
export type { Column, ColumnInput } from './datasets/columns.ts';
export type { HistoryReport } from './datasets/histories.ts';
export { type Inspection, inspectFile } from './datasets/inspect/inspect-data.ts';
export {
  type DistanceRow,
  type DistilledRow,
  type ItemRow,
  type PredictionRow,
  SCHEMAS,
  type SchemaName,
  type TitleRow,
  type WindowRow,
} from './datasets/schemas.ts';
export {
  type DecodedTable,
  decodeDistances,
  decodeDistilled,
  decodeEmbeddings,
  decodeItems,
  decodePredictions,
  decodeTable,
  decodeTitles,
  decodeWindows,
  type Embeddings,
  encodeDistances,
  encodeDistilled,
  encodeEmbeddings,
  encodeItems,
  encodePredictions,
  encodeTable,
  encodeTitles,
  encodeWindows,
  type TableName,
} from './datasets/tables.ts';
export { dataConverter } from './encryption/data-converter.ts';
export { SoftflowError, type SoftflowErrorOptions } from './errors.ts';
export {
  type ConfigDifference,
  compareRuns,
  type PairedResult,
  type PairedSlice,
  type RunComparison,
} from './report/compare.ts';
export { popularityRanks, predictionMetrics, rankOf } from './report/metrics.ts';
export type { RunSummary } from './report/summary-types.ts';
export type { BackendChoice } from './workers/backend-choices.ts';
export { type Embedded, type EmbeddedOptions, ensureEmbedded, stopEmbedded } from './workers/embedded.ts';
export type { MachineOptions } from './workers/machine.ts';
export { machinePlaces } from './workers/places.ts';
export { SoftflowPlugin, type SoftflowPluginOptions } from './workers/plugin.ts';
export { TrainerClient } from './workers/trainer-client.ts';
export type { TrainerSettings } from './workers/trainer-settings.ts';
export { type RunningWorker, type SoftflowWorkerOptions, startWorker } from './workers/worker.ts';
export type { WorkerChecks, WorkerHealth } from './workers/worker-health.ts';
export { workflowBundle, workflowsPath } from './workers/workflow-bundle.ts';
export type { PromotionOutcome } from './workflows/promotion-state.ts';
export type { RetrainOutcome, RetrainStatus } from './workflows/retrain-state.ts';
export { type RunConfig, type RunConfigInput, RunConfigSchema } from './workflows/run-config.ts';
export type { EpochRow, RunError, RunPhase, RunStatus, Stage, StepStatus } from './workflows/run-state.ts';
export type { SweepPlan, SweepRun, SweepStatus } from './workflows/sweep-state.ts';
export { DEFAULT_TASK_QUEUE, type QueueKind, queueName } from './workflows/task-queues.ts';
