import { relative } from 'node:path';
import { digestOf } from '../../artifacts/canonical-json.ts';
import { type RunPart, stepRange } from '../../client/run-part.ts';
import { SoftflowError } from '../../errors.ts';
import type { RunConfig } from '../../workflows/run-config.ts';
import { hasEnded } from '../../workflows/run-state.ts';
import { loadConfigFile } from '../config-file.ts';
import { howToReach } from '../detach.ts';
import { EXIT } from '../exit-codes.ts';
import { findWork } from '../find-work.ts';
import { openSession, openStoredRuns, type Session } from '../session.ts';
import { startAndShow } from '../start-work.ts';
import type { Terminal } from '../terminal.ts';
import { isAlive, watchRun, watchRuns } from '../watch-run.ts';
import { watchSweep } from '../watch-sweep.ts';
import { presentSweep } from './sweep.ts';

export interface RunOptions {
  set: string[];
  name?: string;
  tag: string[];
  until?: string;
  detach?: boolean;
  json?: boolean;
}

export interface ResumeOptions extends RunPart {
  detach?: boolean;
  json?: boolean;
}

/** Sets up what the recipe needs, starts its run and shows it. */
export async function run(recipe: string, options: RunOptions, terminal: Terminal): Promise<number> {
  const overrides = [...options.set, ...(options.name === undefined ? [] : [`name=${options.name}`])];
  const { config, file } = loadConfigFile(recipe, { overrides });
  config.tags = [...new Set([...config.tags, ...options.tag])];
  // Before a server is started for it.
  stepRange(config, partOf(options));
  return startAndShow(config, terminal, async (session) => {
    const active = await findActive(session, config);
    if (active && options.until !== undefined) throw goesFurther(active, options.until);
    if (active) terminal.err(`This recipe is running already as ${active}; showing that run.`);
    const begun = { recipe: relative(process.cwd(), file), ...partOf(options) };
    const runId = active ?? (await session.runs.start(config, begun));
    return () => present(session, runId, options, terminal);
  });
}

/** How many of the newest runs are looked at for one that does the same. */
const NEWEST = 5;

/** A run with the very same config that is under way: starting the same thing twice means to see it. */
async function findActive({ runs }: Session, config: RunConfig): Promise<string | undefined> {
  const wanted = digestOf(config);
  for (const runId of (await runs.list()).slice(0, NEWEST)) {
    if (digestOf(await runs.config(runId)) !== wanted) continue;
    const look = await runs.look(runId);
    if (look.status.phase === 'running' && isAlive(look)) return runId;
  }
  return undefined;
}

const partOf = ({ from, until }: RunPart): RunPart => ({
  ...(from === undefined ? {} : { from }),
  ...(until === undefined ? {} : { until }),
});

function goesFurther(runId: string, until: string): SoftflowError {
  return new SoftflowError(
    'RUN_ACTIVE',
    `This recipe is running already as ${runId}, to its end. To stop it after ${until}: softflow stop ${runId}, then softflow resume ${runId} --until ${until}`,
  );
}

/** Takes up a run or sweep that was paused, stopped or has failed; one that goes on anyway is shown. */
export async function resume(name: string, options: ResumeOptions, terminal: Terminal): Promise<number> {
  const part = partOf(options);
  const whole = Object.keys(part).length === 0;
  // Before a server is started for a run that is not there.
  const { kind, id } = await findWork(await openStoredRuns(), name);
  return startAndShow(undefined, terminal, async (session) => {
    if (kind === 'sweep' && !whole) throw ofOneRun(id);
    const work = kind === 'sweep' ? await session.sweeps() : session.runs;
    await work.resume(id, part).catch((error: unknown) => {
      if (!(error instanceof SoftflowError) || error.code !== 'RUN_ACTIVE' || !whole) throw error;
      terminal.err(`${id} goes on already.`);
    });
    return () => (kind === 'sweep' ? presentSweep : present)(session, id, options, terminal);
  });
}

function ofOneRun(sweepId: string): SoftflowError {
  return new SoftflowError(
    'USAGE',
    `${sweepId} is a sweep; --from and --until are for one of its runs: softflow status ${sweepId}`,
  );
}

/** Shows runs, or a sweep, that were started before. */
export async function watch(
  names: readonly string[],
  options: { json?: boolean },
  terminal: Terminal,
): Promise<number> {
  const session = await openSession({ server: 'if running' });
  try {
    const found = await Promise.all(names.map((name) => findWork(session, name)));
    for (const { kind, id } of found) {
      const look = await (kind === 'sweep' ? await session.sweeps() : session.runs).look(id);
      if (!hasEnded(look.status) && !isAlive(look)) throw notAlive(session, id);
    }
    const [first = '', ...others] = [...new Set(found.map(({ id }) => id))];
    const sweep = found.find(({ kind }) => kind === 'sweep');
    if (others.length === 0) return await (sweep ? watchSweep : watchRun)(session, first, options, terminal);
    if (!sweep) return await watchRuns(session, [first, ...others], options, terminal);
    throw new SoftflowError('USAGE', `${sweep.id} is a sweep, which shows all its runs: softflow watch ${sweep.id}`);
  } finally {
    await session.close();
  }
}

function notAlive({ connected }: Session, runId: string): SoftflowError {
  return new SoftflowError(
    'RUN_NOT_ACTIVE',
    connected
      ? `The server does not know ${runId} any more. Next: softflow resume ${runId}`
      : `No server is running, so ${runId} stands still. Next: softflow dev start lets it go on; softflow status ${runId} shows where it is.`,
  );
}

async function present(
  session: Session,
  runId: string,
  options: { detach?: boolean; json?: boolean },
  terminal: Terminal,
): Promise<number> {
  const page = session.webUi && `${session.webUi}/namespaces/${session.namespace}/workflows/${runId}`;
  if (options.json) terminal.out(JSON.stringify({ event: 'started', runId, ...(page ? { webUi: page } : {}) }));
  else {
    terminal.out(`run ${runId}`);
    if (page) terminal.out(`web UI ${page}`);
  }
  if (!options.detach) return watchRun(session, runId, options, terminal);
  if (!options.json) terminal.out(howToReach(runId));
  return EXIT.ok;
}
