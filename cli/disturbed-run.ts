import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openStore, type Store } from '../artifacts/store.ts';
import { connect } from '../client/connect.ts';
import { Runs } from '../client/runs.ts';
import { SoftflowError } from '../errors.ts';
import { devPaths } from '../workers/dev-state.ts';
import { ensureEmbedded, stopEmbedded } from '../workers/embedded.ts';
import { killTensorWorker } from '../workers/victims.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import type { RunStatus } from '../workflows/run-state.ts';
import { followRun } from './follow-run.ts';
import type { LiveRun } from './live-view.ts';
import { type Kill, RandomKills } from './random-kills.ts';
import { STATE_FOLDER } from './session.ts';
import type { Terminal } from './terminal.ts';

/** Server, workers and store of the run that is disturbed; made anew each time, so that nothing is reused. */
export const DISTURBED_FOLDER = join(STATE_FOLDER, 'disturbed');
/** A killed worker counts as lost after so long; its step then goes on in the next one. */
const HEARTBEAT_TIMEOUT_SECONDS = 10;
const POLL_MS = 250;

/** Files of a release by their digest. */
export type Digests = Record<string, string>;

export interface DisturbedRun {
  runId: string;
  kills: Kill[];
  digests: Digests;
}

/** Runs a recipe in a folder of its own while its processes are killed at random moments, to its end. */
export async function runDisturbed(
  config: RunConfig,
  options: { kills: number; json?: boolean; signal: AbortSignal },
  terminal: Terminal,
): Promise<DisturbedRun | undefined> {
  await stopEmbedded(DISTURBED_FOLDER);
  await rm(DISTURBED_FOLDER, { recursive: true, force: true });
  const { target } = await ensureEmbedded({ stateFolder: DISTURBED_FOLDER });
  const client = await connect(target);
  try {
    const store = await openStore(devPaths(DISTURBED_FOLDER).store, { create: true });
    const runs = new Runs({ client, store, heartbeatTimeoutSeconds: HEARTBEAT_TIMEOUT_SECONDS });
    const kills = new RandomKills(options.kills, (victims) => killTensorWorker(DISTURBED_FOLDER, victims));
    const runId = await runs.start(config);
    const look = async (): Promise<LiveRun> => {
      const seen = await runs.look(runId);
      await kills.see(seen);
      return { ...seen, ...noticeOf(kills.done) };
    };
    const last = await followRun(look, terminal, { ...options, pollMs: POLL_MS, noticeAfterMs: 0 });
    if (options.signal.aborted || !last) return undefined;
    return { runId, kills: kills.done, digests: await releasedDigests(store, last.status) };
  } finally {
    await client.connection.close();
    await stopEmbedded(DISTURBED_FOLDER);
  }
}

function noticeOf(kills: readonly Kill[]): { notice?: string } {
  const last = kills.at(-1);
  return last ? { notice: `Kill ${kills.length}: ${describeVictims(last)} at ${last.step}, ${last.position}.` } : {};
}

export const describeVictims = ({ victims }: Kill): string => (victims === 'both' ? 'worker and trainer' : victims);

/** @throws SoftflowError of what ended a run early */
export async function releasedDigests(store: Store, { runId, phase, steps, error }: RunStatus): Promise<Digests> {
  if (phase !== 'completed')
    throw new SoftflowError(
      error?.code ?? 'RUN_FAILED',
      `Run ${runId} is ${phase}: ${error?.message ?? 'not at its end'}`,
    );
  const key = steps.find(({ step }) => step === 'release')?.key;
  const outputs = (key && (await store.readManifest(key))?.outputs) || {};
  return Object.fromEntries(Object.entries(outputs).map(([path, { sha256 }]) => [path, sha256]));
}
