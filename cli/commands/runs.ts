import type { RunLook } from '../../client/runs.ts';
import { suggest } from '../../client/suggest.ts';
import { ranked } from '../../client/sweep-ranking.ts';
import type { Sweeps } from '../../client/sweeps.ts';
import { SoftflowError } from '../../errors.ts';
import { align } from '../../report/format.ts';
import { hasEnded, type RunStatus } from '../../workflows/run-state.ts';
import type { SweepStatus } from '../../workflows/sweep-state.ts';
import { EXIT } from '../exit-codes.ts';
import { findWork, type Work } from '../find-work.ts';
import { formatSeconds } from '../format.ts';
import { latestFigures, renderRun } from '../live-view.ts';
import { hasStore, openSession, type Session } from '../session.ts';
import { renderSweep } from '../sweep-view.ts';
import { oneLine, type Terminal } from '../terminal.ts';
import { writeView } from '../watch-run.ts';

const LISTED = 20;

async function withWork<T>(name: string, act: (session: Session, work: Work) => Promise<T>): Promise<T> {
  const session = await openSession({ server: 'if running' });
  try {
    return await act(session, await findWork(session, name));
  } finally {
    await session.close();
  }
}

/** Where a run or sweep stands, from the server or, without one, from the store. */
export async function status(name: string, options: { json?: boolean }, terminal: Terminal): Promise<number> {
  await withWork(name, async (session, { kind, id }) => {
    const found = kind === 'sweep' ? await lookAtSweep(session, id, terminal) : await lookAtRun(session, id, terminal);
    if (options.json) terminal.out(JSON.stringify(found.look, null, 2));
    else for (const line of found.lines) terminal.out(line);
    const { error } = found.look.status;
    if (!options.json && error) terminal.out(`  ${oneLine(error.message, 1000)}`);
  });
  return EXIT.ok;
}

async function lookAtRun(session: Session, runId: string, { columns, paint }: Terminal) {
  const look = await session.runs.look(runId);
  if (hasEnded(look.status)) await writeView(session, runId);
  return { look, lines: renderRun(look, columns, paint) };
}

async function lookAtSweep(session: Session, sweepId: string, { columns, paint }: Terminal) {
  const look = await (await session.sweeps()).look(sweepId);
  return { look, lines: renderSweep(look, columns, paint) };
}

export async function list(options: { json?: boolean; all?: boolean }, terminal: Terminal): Promise<number> {
  if (!hasStore()) {
    if (options.json) terminal.out('[]');
    else printList([], [], 0, terminal);
    return EXIT.ok;
  }
  const session = await openSession({ server: 'if running' });
  try {
    const ids = await session.runs.list();
    const looks: RunLook[] = [];
    for (const runId of options.all ? ids : ids.slice(0, LISTED)) looks.push(await session.runs.look(runId));
    const sweeps = await sweepsOf(session, options.all ? undefined : LISTED);
    if (options.json) terminal.out(JSON.stringify([...sweeps, ...looks.map(listed)], null, 2));
    else printList(sweeps, looks, ids.length, terminal);
    return EXIT.ok;
  } finally {
    await session.close();
  }
}

const listed = ({ status, elapsedSeconds }: RunLook) => ({
  runId: status.runId,
  phase: status.phase,
  stage: status.stage,
  ...(elapsedSeconds === undefined ? {} : { elapsedSeconds }),
  latest: status.latest,
});

async function sweepsOf(session: Session, most?: number) {
  const sweeps = await session.sweeps();
  const ids = (await sweeps.list()).slice(0, most);
  const looks = await Promise.all(ids.map(({ sweepId }) => sweeps.look(sweepId)));
  return looks.map(({ status: { sweepId, phase, metric, runs, best }, elapsedSeconds }) => ({
    sweepId,
    phase,
    ...(elapsedSeconds === undefined ? {} : { elapsedSeconds }),
    metric,
    runs: runs.length,
    first: ranked(runs).find(({ value }) => value !== null)?.runId ?? null,
    best,
  }));
}

function printList(
  sweeps: Awaited<ReturnType<typeof sweepsOf>>,
  looks: readonly RunLook[],
  total: number,
  terminal: Terminal,
): void {
  if (total === 0 && sweeps.length === 0)
    terminal.out('No runs yet. Next: softflow demo, or softflow init for a recipe of your own');
  const first = sweeps.map((sweep) => [
    `sweep ${oneLine(sweep.sweepId, 64)}`,
    sweep.phase,
    sweep.elapsedSeconds === undefined ? '' : formatSeconds(sweep.elapsedSeconds),
    `${sweep.runs} runs${sweep.first === null ? '' : `, ${sweep.best === null ? 'first' : 'best'} ${sweep.best ?? sweep.first}`}`,
  ]);
  for (const line of align(first)) terminal.out(line);
  const rows = looks.map((look) => [
    oneLine(look.status.runId, 64),
    look.status.phase,
    look.status.phase === 'completed' ? '' : look.status.stage,
    look.elapsedSeconds === undefined ? '' : formatSeconds(look.elapsedSeconds),
    latestFigures({ ...look, progress: [] }),
  ]);
  for (const line of align(rows)) terminal.out(line);
  if (total > looks.length) terminal.out(`${total - looks.length} older runs; softflow list --all shows them.`);
}

interface SteerOptions {
  json?: boolean;
}

export async function pause(name: string, options: SteerOptions, terminal: Terminal): Promise<number> {
  const done = 'pauses at its next micro-batch or tile. To go on: softflow resume';
  return steer(name, options, terminal, done, (work, id) => work.pause(id));
}

export async function stop(
  name: string,
  options: SteerOptions & { after: 'now' | 'round' },
  terminal: Terminal,
): Promise<number> {
  const when = options.after === 'now' ? 'stops at the next micro-batch or tile' : 'stops after the round in progress';
  return steer(
    name,
    options,
    terminal,
    `${when}; everything done is kept. To take it up again: softflow resume`,
    (work, id) => work.stop(id, options.after),
  );
}

/** Changes a field of a running run: only the pace of the curriculum may change. */
export async function set(
  name: string,
  assignment: string,
  options: SteerOptions,
  terminal: Terminal,
): Promise<number> {
  const curriculumAlpha = parseAssignment(assignment);
  return steer(
    name,
    options,
    terminal,
    `takes curriculumAlpha ${curriculumAlpha} from the next round on. See: softflow watch`,
    async (work, id) => {
      if (!('setCurriculumAlpha' in work))
        throw new SoftflowError(
          'USAGE',
          `${id} is a sweep, whose runs differ on purpose. Name one of its runs: softflow status ${id}`,
        );
      return work.setCurriculumAlpha(id, curriculumAlpha);
    },
  );
}

function parseAssignment(assignment: string): number {
  const [key = '', text = ''] = assignment.split('=', 2).map((part) => part.trim());
  const field = key.replace(/^soft\./, '');
  if (field !== 'curriculumAlpha') {
    const near = suggest(field, ['curriculumAlpha']) ? ', did you mean "curriculumAlpha"?' : '.';
    throw new SoftflowError(
      'USAGE',
      `${oneLine(assignment, 80)}: a run that has begun takes curriculumAlpha=<number> only${near} Start another run for other fields.`,
    );
  }
  const value = Number(text);
  if (text === '' || !Number.isFinite(value) || value < 0)
    throw new SoftflowError(
      'USAGE',
      `${oneLine(assignment, 80)}: expected a number of 0 or more, got "${oneLine(text, 40)}".`,
    );
  return value;
}

async function steer(
  name: string,
  options: SteerOptions,
  terminal: Terminal,
  done: string,
  call: (work: Session['runs'] | Sweeps, id: string) => Promise<RunStatus | SweepStatus>,
): Promise<number> {
  await withWork(name, async (session, { kind, id }) => {
    if (!session.connected)
      throw new SoftflowError(
        'RUN_NOT_ACTIVE',
        `No server is running, so ${id} is not either. Next: softflow resume ${id}`,
      );
    const status = await call(kind === 'sweep' ? await session.sweeps() : session.runs, id);
    if (!options.json) terminal.out(`${id} ${done} ${id}`);
    else terminal.out(JSON.stringify('sweepId' in status ? status : listed({ status, progress: [] }), null, 2));
  });
  return EXIT.ok;
}
