import type { RunLook } from '../../client/runs.ts';
import { SoftflowError } from '../../errors.ts';
import { align } from '../../report/format.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import { EXIT } from '../exit-codes.ts';
import { formatSeconds } from '../format.ts';
import { latestFigures, renderRun } from '../live-view.ts';
import { hasStore, openSession, type Session } from '../session.ts';
import { suggest } from '../suggest.ts';
import { oneLine, type Terminal } from '../terminal.ts';
import { ended, writeView } from '../watch-run.ts';

const LISTED = 20;

async function withRun<T>(name: string, work: (session: Session, runId: string) => Promise<T>): Promise<T> {
  const session = await openSession({ server: 'if running' });
  try {
    return await work(session, await session.runs.find(name));
  } finally {
    await session.close();
  }
}

/** Where a run stands, from the server or, without one, from the store. */
export async function status(name: string, options: { json?: boolean }, terminal: Terminal): Promise<number> {
  const look = await withRun(name, async (session, runId) => {
    const found = await session.runs.look(runId);
    if (ended(found.status)) await writeView(session, runId);
    return found;
  });
  if (options.json) terminal.out(JSON.stringify(look, null, 2));
  else for (const line of renderRun(look, terminal.columns, terminal.paint)) terminal.out(line);
  if (!options.json && look.status.error) terminal.out(`  ${oneLine(look.status.error.message, 1000)}`);
  return EXIT.ok;
}

export async function list(options: { json?: boolean; all?: boolean }, terminal: Terminal): Promise<number> {
  if (!hasStore()) {
    if (options.json) terminal.out('[]');
    else printList([], 0, terminal);
    return EXIT.ok;
  }
  const session = await openSession({ server: 'if running' });
  try {
    const ids = await session.runs.list();
    const looks: RunLook[] = [];
    for (const runId of options.all ? ids : ids.slice(0, LISTED)) looks.push(await session.runs.look(runId));
    if (options.json) terminal.out(JSON.stringify(looks.map(listed), null, 2));
    else printList(looks, ids.length, terminal);
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

function printList(looks: readonly RunLook[], total: number, terminal: Terminal): void {
  if (total === 0) terminal.out('No runs yet. Next: softflow run recipes/demo.yaml');
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
  return steer(name, options, terminal, done, (runs, runId) => runs.pause(runId));
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
    (runs, runId) => runs.stop(runId, options.after),
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
    (runs, runId) => runs.setCurriculumAlpha(runId, curriculumAlpha),
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
  call: (runs: Session['runs'], runId: string) => Promise<RunStatus>,
): Promise<number> {
  await withRun(name, async (session, runId) => {
    if (!session.connected)
      throw new SoftflowError(
        'RUN_NOT_ACTIVE',
        `No server is running, so run ${runId} is not either. Next: softflow resume ${runId}`,
      );
    const status = await call(session.runs, runId);
    if (options.json) terminal.out(JSON.stringify(listed({ status, progress: [] }), null, 2));
    else terminal.out(`${runId} ${done} ${runId}`);
  });
  return EXIT.ok;
}
