import type { RunConfig } from '../workflows/run-config.ts';
import { EXIT } from './exit-codes.ts';
import { openSession, type Session } from './session.ts';
import { runSetup, setupNeeds } from './setup-run.ts';
import type { Terminal } from './terminal.ts';

/**
 * Starts something that goes on by itself, then shows it. Ctrl-C before it has started ends the command, which says that
 * there is nothing to come back to.
 *
 * @param config of what is new, for which the embedded set-up may have to be made first
 * @param start returns what shows it
 */
export async function startAndShow(
  config: RunConfig | undefined,
  terminal: Terminal,
  start: (session: Session) => Promise<() => Promise<number>>,
): Promise<number> {
  let session: Session | undefined;
  try {
    const show = await orInterrupted(terminal, async () => {
      if (config) await setUp(config, terminal);
      session = await openSession({ server: 'start' });
      return start(session);
    });
    return await show();
  } finally {
    await session?.close();
  }
}

async function setUp(config: RunConfig, terminal: Terminal): Promise<void> {
  const { configuredTarget } = await import('../client/connect.ts');
  if (!configuredTarget()) await runSetup({ ...setupNeeds(config), temporal: true }, terminal);
}

async function orInterrupted<T>(terminal: Terminal, begin: () => Promise<T>): Promise<T> {
  const interrupted = () => {
    terminal.err('');
    terminal.err('Interrupted before anything was started; nothing goes on.');
    process.exit(EXIT.detached);
  };
  process.once('SIGINT', interrupted);
  try {
    return await begin();
  } finally {
    process.off('SIGINT', interrupted);
  }
}
