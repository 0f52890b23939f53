import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import { temporal } from '@temporalio/proto';
import type { TestServer } from './temporal.ts';

const { History } = temporal.api.history.v1;
const HISTORIES = fileURLToPath(new URL('../workflows/histories', import.meta.url));

/** Whether tests are to record the histories of what they do: `SOFTFLOW_RECORD_HISTORIES=1`. */
export const RECORDING = process.env['SOFTFLOW_RECORD_HISTORIES'] === '1';

/** Names of the recorded histories. */
export async function historyNames(): Promise<string[]> {
  return (await readdir(HISTORIES)).map((file) => file.replace('.pb.gz', '')).sort();
}

export async function readHistory(name: string): Promise<temporal.api.history.v1.History> {
  return History.decode(gunzipSync(await readFile(join(HISTORIES, `${name}.pb.gz`))));
}

/** Keeps the history of an ended workflow under a name, for replay by later versions. */
export async function recordHistory(
  server: TestServer,
  name: string,
  workflowId: string,
  runId?: string,
): Promise<void> {
  const history = await server.client.workflow.getHandle(workflowId, runId).fetchHistory();
  await writeFile(
    join(HISTORIES, `${name}.pb.gz`),
    gzipSync(History.encode(anonymous(history)).finish(), { level: 9 }),
  );
}

/** `<process>@<machine>`: identity of a worker, and name of its own queue. */
const MACHINE = /^\d+@/;

/** Takes out what names the machine that recorded it; replay does not look at it. */
function anonymous<T>(value: T): T {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  for (const [key, item] of Object.entries(value)) {
    const names = key === 'stackTrace' || (typeof item === 'string' && MACHINE.test(item));
    if (names) Object.assign(value, { [key]: '' });
    else anonymous(item);
  }
  return value;
}

/** What a history takes: its events, all of it in bytes, and its largest payload wherever that lies, in bytes. */
export function historyFigures(history: temporal.api.history.v1.IHistory): {
  events: number;
  bytes: number;
  largestPayload: number;
} {
  const largestPayload = Math.max(0, ...payloadSizes(history));
  return { events: history.events?.length ?? 0, bytes: History.encode(history).finish().length, largestPayload };
}

function* payloadSizes(value: unknown): Generator<number> {
  if (typeof value !== 'object' || value === null) return;
  const { metadata, data } = value as { metadata?: unknown; data?: unknown };
  if (metadata && data instanceof Uint8Array) yield data.length;
  else if (!(value instanceof Uint8Array)) for (const item of Object.values(value)) yield* payloadSizes(item);
}
