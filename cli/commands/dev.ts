import { suggest } from '../../client/suggest.ts';
import { SoftflowError } from '../../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { STATE_FOLDER } from '../session.ts';
import { runSetup } from '../setup-run.ts';
import { oneLine, type Terminal } from '../terminal.ts';

const ACTIONS = ['start', 'stop', 'status'] as const;
type Action = (typeof ACTIONS)[number];

/** The embedded Temporal server and workers of this folder; they go on until `stop`. */
export async function dev(action: string, options: { json?: boolean }, terminal: Terminal): Promise<number> {
  if (!ACTIONS.includes(action as Action)) throw unknown(action);
  if (action === 'start') return start(options, terminal);
  return action === 'stop' ? stop(options, terminal) : status(options, terminal);
}

function unknown(action: string): SoftflowError {
  const near = suggest(action, ACTIONS);
  const hint = near ? `, did you mean "${near}"?` : '.';
  return new SoftflowError('USAGE', `softflow dev ${oneLine(action, 40)}: expected ${ACTIONS.join(', ')}${hint}`);
}

async function start(options: { json?: boolean }, terminal: Terminal): Promise<number> {
  await runSetup({ temporal: true, tensorflow: true }, terminal);
  const { ensureEmbedded } = await import('../../workers/embedded.ts');
  const { attached } = await ensureEmbedded({ stateFolder: STATE_FOLDER });
  if (!options.json) terminal.out(attached ? 'Running already.' : 'Started.');
  return status(options, terminal);
}

async function stop(options: { json?: boolean }, terminal: Terminal): Promise<number> {
  const { stopEmbedded } = await import('../../workers/embedded.ts');
  const stopped = await stopEmbedded(STATE_FOLDER);
  if (options.json) terminal.out(JSON.stringify({ running: false, stopped }));
  else if (stopped) terminal.out('Stopped. Runs are kept where they are; softflow dev start lets them go on.');
  else terminal.out('Nothing was running.');
  return EXIT.ok;
}

async function status(options: { json?: boolean }, terminal: Terminal): Promise<number> {
  const { findEmbedded } = await import('../../workers/embedded.ts');
  const found = await findEmbedded(STATE_FOLDER);
  const workers = (found?.state.workers ?? []).map(({ queues, process, restarts }) => ({
    queues,
    pid: process.pid,
    restarts,
  }));
  if (options.json) {
    const { address, uiUrl } = found?.state ?? {};
    terminal.out(JSON.stringify({ running: found !== undefined, address, webUi: uiUrl, workers }, null, 2));
  } else if (found) {
    terminal.out(`server  ${found.target.address}`);
    terminal.out(`web UI  ${found.uiUrl}`);
    for (const { queues, pid, restarts } of workers)
      terminal.out(`worker  ${queues.join(', ')}  process ${pid}${restarts ? `, restarted ${restarts} times` : ''}`);
  } else terminal.out('Not running. Next: softflow dev start');
  return EXIT.ok;
}
