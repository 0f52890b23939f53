import type { StartRecord } from '../activities/run-records.ts';
import type { Session } from './session.ts';

/** A run or a sweep, as a person names it. */
export interface Work {
  kind: 'run' | 'sweep';
  id: string;
}

/**
 * What a name stands for: a sweep by its id, the beginning of it, or `latest`; else a run. A name that a sweep shares with
 * its own runs only is the sweep's.
 *
 * @throws SoftflowError `RUN_NOT_FOUND`, `RUN_AMBIGUOUS`
 */
export async function findWork(session: Pick<Session, 'runs' | 'sweeps' | 'store'>, name: string): Promise<Work> {
  const sweeps = await (await session.sweeps()).list();
  const runIds = await session.runs.list();
  if (runIds.includes(name)) return { kind: 'run', id: name };
  if (name === 'latest') return latest(session, runIds[0], sweeps[0]);
  const [sweep, ...others] = sweeps.filter(({ sweepId }) => sweepId.startsWith(name));
  const ofOthers = runIds.some((runId) => runId.startsWith(name) && !runId.startsWith(`${sweep?.sweepId}-`));
  if (sweep && others.length === 0 && !ofOthers) return { kind: 'sweep', id: sweep.sweepId };
  return { kind: 'run', id: await session.runs.find(name) };
}

/** The newest that a person has started: the runs of a sweep are that sweep's. */
async function latest(
  session: Pick<Session, 'runs' | 'store'>,
  runId: string | undefined,
  sweep: { sweepId: string; createdAt: string } | undefined,
): Promise<Work> {
  if (runId === undefined) return sweep ? { kind: 'sweep', id: sweep.sweepId } : run(await session.runs.find('latest'));
  const start = (await session.store.readRunRecord(runId, 'start'))?.value as StartRecord;
  if (start.sweep !== undefined) return { kind: 'sweep', id: start.sweep };
  return sweep && sweep.createdAt > start.createdAt ? { kind: 'sweep', id: sweep.sweepId } : run(runId);
}

const run = (id: string): Work => ({ kind: 'run', id });
