import type { RunStatus } from '../workflows/run-state.ts';
import { hasEnded } from '../workflows/run-state.ts';
import { sendJson } from './http.ts';
import { newScalars, type Scalar, type ScalarCursor } from './run-scalars.ts';
import type { RecordedRun, Sink } from './sink.ts';

interface MlflowCursor {
  mlflowRun: string;
  scalars: ScalarCursor;
  status: string;
}

/** Limits of one `log-batch`. */
const METRICS_A_BATCH = 1000;
const PARAMS_A_BATCH = 100;
const PARAM_LENGTH = 6000;
const TAG = 'softflow.run';

const STATUS: Record<RunStatus['phase'], string> = {
  running: 'RUNNING',
  paused: 'RUNNING',
  stopping: 'RUNNING',
  waiting: 'RUNNING',
  completed: 'FINISHED',
  failed: 'FAILED',
  stopped: 'KILLED',
  cancelled: 'KILLED',
};

/**
 * A run of MLflow for each run: parameters, metrics and status. Its own variables say where: `MLFLOW_TRACKING_URI` (http or
 * https), `MLFLOW_EXPERIMENT_NAME`, `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`.
 */
export function mlflowSink(env: NodeJS.ProcessEnv): Sink | undefined {
  const uri = env['MLFLOW_TRACKING_URI'];
  if (!uri) return undefined;
  const api = new MlflowApi(uri, headersOf(env));
  const experiment = env['MLFLOW_EXPERIMENT_NAME'] || 'softflow';
  return {
    name: 'mlflow',
    async report(run, before, signal): Promise<MlflowCursor> {
      const {
        mlflowRun,
        scalars: done,
        status,
      } = (before as MlflowCursor | undefined) ?? {
        mlflowRun: await openRun(api, experiment, run, signal),
        scalars: undefined,
        status: 'RUNNING',
      };
      const { scalars, cursor } = await newScalars(run, done);
      await logMetrics(api, mlflowRun, scalars, signal);
      const now = STATUS[run.status.phase];
      if (now !== status) {
        const end = hasEnded(run.status) ? { end_time: Date.now() } : {};
        await api.post('runs/update', { run_id: mlflowRun, status: now, ...end }, signal);
      }
      return { mlflowRun, scalars: cursor, status: now };
    },
  };
}

/** The run of MLflow that has our tag, or a new one: a worker may have died before it noted the id. */
async function openRun(api: MlflowApi, experiment: string, run: RecordedRun, signal: AbortSignal): Promise<string> {
  const experimentId = await findExperiment(api, experiment, signal);
  const filter = `tags.\`${TAG}\` = '${run.runId}'`;
  const found = await api.post('runs/search', { experiment_ids: [experimentId], filter, max_results: 1 }, signal);
  const [known] = (found as { runs?: { info: { run_id: string } }[] }).runs ?? [];
  if (known) return known.info.run_id;
  const tags = [
    { key: TAG, value: run.runId },
    { key: 'mlflow.source.name', value: run.start.recipe ?? run.config.name },
    ...run.start.tags.map((tag) => ({ key: `softflow.tag.${tag}`, value: 'true' })),
  ];
  const start = { experiment_id: experimentId, run_name: run.runId, start_time: Date.parse(run.start.createdAt), tags };
  const { info } = ((await api.post('runs/create', start, signal)) as { run: { info: { run_id: string } } }).run;
  const params = paramsOf(run.config);
  for (let i = 0; i < params.length; i += PARAMS_A_BATCH)
    await api.post('runs/log-batch', { run_id: info.run_id, params: params.slice(i, i + PARAMS_A_BATCH) }, signal);
  return info.run_id;
}

async function findExperiment(api: MlflowApi, name: string, signal: AbortSignal): Promise<string> {
  const found = await api.get(`experiments/get-by-name?experiment_name=${encodeURIComponent(name)}`, signal);
  if (found) return (found as { experiment: { experiment_id: string } }).experiment.experiment_id;
  return ((await api.post('experiments/create', { name }, signal)) as { experiment_id: string }).experiment_id;
}

async function logMetrics(api: MlflowApi, run: string, scalars: readonly Scalar[], signal: AbortSignal): Promise<void> {
  const timestamp = Date.now();
  const metrics = scalars.map(({ name, value, step }) => ({ key: name, value, timestamp, step }));
  for (let i = 0; i < metrics.length; i += METRICS_A_BATCH)
    await api.post('runs/log-batch', { run_id: run, metrics: metrics.slice(i, i + METRICS_A_BATCH) }, signal);
}

/** `train.batchSize` and so on; a config holds names of secrets, never secrets. */
function paramsOf(value: unknown, path = ''): { key: string; value: string }[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return [{ key: path, value: (typeof value === 'string' ? value : JSON.stringify(value)).slice(0, PARAM_LENGTH) }];
  return Object.entries(value).flatMap(([key, part]) => paramsOf(part, path ? `${path}.${key}` : key));
}

function headersOf(env: NodeJS.ProcessEnv): Record<string, string> {
  const token = env['MLFLOW_TRACKING_TOKEN'];
  const user = env['MLFLOW_TRACKING_USERNAME'];
  if (token) return { authorization: `Bearer ${token}` };
  if (!user) return {};
  const pair = Buffer.from(`${user}:${env['MLFLOW_TRACKING_PASSWORD'] ?? ''}`).toString('base64');
  return { authorization: `Basic ${pair}` };
}

class MlflowApi {
  readonly #base: string;
  readonly #headers: Record<string, string>;

  constructor(uri: string, headers: Record<string, string>) {
    this.#base = `${uri.replace(/\/+$/, '')}/api/2.0/mlflow/`;
    this.#headers = headers;
  }

  async post(path: string, body: object, signal: AbortSignal): Promise<unknown> {
    const answer = await sendJson(this.#base + path, { headers: this.#headers, body, signal });
    if (answer.status === 404) throw new Error(`${path} is not there; is MLFLOW_TRACKING_URI an MLflow server?`);
    return answer.body;
  }

  /** Undefined when there is none. */
  async get(path: string, signal: AbortSignal): Promise<unknown> {
    return (await sendJson(this.#base + path, { method: 'GET', headers: this.#headers, signal })).body;
  }
}
