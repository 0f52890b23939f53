import { createHash } from 'node:crypto';
import type { RunConfig } from '../workflows/run-config.ts';
import { hasEnded } from '../workflows/run-state.ts';
import { sendJson } from './http.ts';
import type { RecordedRun, Sink } from './sink.ts';

type Sent = 'START' | 'COMPLETE' | 'FAIL' | 'ABORT';
interface LineageCursor {
  sent: Sent;
}

const PRODUCER = 'urn:softflow:worker';
const SCHEMA = 'https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs';
const facet = (name: string, version: string) => ({
  _producer: PRODUCER,
  _schemaURL: `https://openlineage.io/spec/facets/${version}/${name}.json#/$defs/${name}`,
});

/**
 * Run events of OpenLineage: what a run read and what it made. Its own variables say where: `OPENLINEAGE_URL`,
 * `OPENLINEAGE_ENDPOINT`, `OPENLINEAGE_API_KEY`, `OPENLINEAGE_NAMESPACE`.
 */
export function openLineageSink(env: NodeJS.ProcessEnv): Sink | undefined {
  const base = env['OPENLINEAGE_URL'];
  if (!base) return undefined;
  const url = `${base.replace(/\/+$/, '')}/${env['OPENLINEAGE_ENDPOINT'] || 'api/v1/lineage'}`;
  const key = env['OPENLINEAGE_API_KEY'];
  const headers: Record<string, string> = key ? { authorization: `Bearer ${key}` } : {};
  const namespace = env['OPENLINEAGE_NAMESPACE'] || 'softflow';
  const send = async (event: object, signal: AbortSignal) => {
    const { status } = await sendJson(url, { headers, body: event, signal });
    if (status === 404) throw new Error(`${new URL(url).pathname} is not there; correct OPENLINEAGE_URL`);
  };
  return {
    name: 'openlineage',
    async report(run, before, signal): Promise<LineageCursor> {
      const { sent } = (before as LineageCursor | undefined) ?? {};
      const now = eventTypeOf(run);
      // A run that ended and was resumed begins anew.
      const due: Sent[] = now === 'START' ? ['START'] : sent === 'START' ? [now] : ['START', now];
      if (sent !== now) for (const type of due) await send(await lineageEvent(run, type, namespace), signal);
      return { sent: now };
    },
  };
}

function eventTypeOf({ status }: RecordedRun): Sent {
  if (!hasEnded(status)) return 'START';
  return status.phase === 'completed' ? 'COMPLETE' : status.phase === 'failed' ? 'FAIL' : 'ABORT';
}

async function lineageEvent(run: RecordedRun, eventType: Sent, namespace: string): Promise<object> {
  const { config, status, runId } = run;
  const error = eventType === 'FAIL' ? status.error : undefined;
  return {
    eventType,
    eventTime: eventType === 'START' ? run.start.createdAt : new Date().toISOString(),
    producer: PRODUCER,
    schemaURL: `${SCHEMA}/RunEvent`,
    run: {
      runId: uuidOf(runId),
      facets: {
        // One of our own: its name has our prefix, its schema is that of any facet of a run.
        softflow_run: { _producer: PRODUCER, _schemaURL: `${SCHEMA}/RunFacet`, runId, config },
        ...(error && {
          errorMessage: {
            ...facet('ErrorMessageRunFacet', '1-0-1'),
            message: `${error.code}: ${error.message}`,
            programmingLanguage: 'TypeScript',
          },
        }),
      },
    },
    job: {
      namespace,
      name: config.name,
      facets: {
        jobType: {
          ...facet('JobTypeJobFacet', '2-0-4'),
          processingType: 'BATCH',
          integration: 'SOFTFLOW',
          jobType: 'TRAINING',
        },
      },
    },
    inputs: [dataOf(config), modelOf(config)],
    outputs: eventType === 'COMPLETE' ? await madeBy(run, namespace) : [],
  };
}

function dataOf({ data }: RunConfig) {
  const [kind, value] = Object.entries(data.source)[0] as [string, unknown];
  if (typeof value === 'string') return { namespace: 'softflow', name: value };
  const { interactions, folder, urlEnv } = value as Record<string, string | undefined>;
  const file = interactions ?? folder;
  // A database is known by the variable that says where it is.
  return file === undefined ? { namespace: 'softflow', name: urlEnv ?? kind } : { namespace: 'file', name: file };
}

function modelOf({ model }: RunConfig) {
  const [kind, value] = Object.entries(model.source)[0] as [string, string];
  return { namespace: kind === 'hub' ? 'huggingface' : kind === 'registry' ? 'softflow' : 'file', name: value };
}

/** The adapter, with its digest as its version. */
async function madeBy(run: RecordedRun, namespace: string) {
  const adapter = (await run.manifest('release'))?.outputs['adapter/adapter_model.safetensors'];
  if (!adapter) return [];
  const version = { ...facet('DatasetVersionDatasetFacet', '1-0-1'), datasetVersion: adapter.sha256 };
  return [{ namespace, name: `${run.config.name}/adapter`, facets: { version } }];
}

/** OpenLineage wants a UUID; the same run has always the same. */
function uuidOf(runId: string): string {
  const hash = createHash('sha256').update(`softflow:${runId}`).digest();
  hash[6] = ((hash[6] as number) & 0x0f) | 0x80;
  hash[8] = ((hash[8] as number) & 0x3f) | 0x80;
  const hex = hash.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-');
}
