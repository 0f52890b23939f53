import { existsSync } from 'node:fs';
import type { Store } from '../artifacts/store.ts';
import type { TemporalTarget } from '../client/connect.ts';
import type { Releases } from '../client/releases.ts';
import type { Runs } from '../client/runs.ts';
import type { Schedules } from '../client/schedules.ts';
import type { Sweeps } from '../client/sweeps.ts';
import { SoftflowError } from '../errors.ts';

/** Everything of the embedded set-up and every default path lies here, in the working directory. */
export const STATE_FOLDER = '.softflow';
export const STORE_FOLDER = `${STATE_FOLDER}/store`;
export const RUNS_FOLDER = `${STATE_FOLDER}/runs`;

/** What a command about runs works with. */
export interface Session {
  runs: Runs;
  sweeps(): Promise<Sweeps>;
  releases(): Promise<Releases>;
  /** @throws SoftflowError `TEMPORAL_UNREACHABLE` without a server */
  schedules(): Promise<Schedules>;
  store: Store;
  runsFolder: string;
  /** False when there is no server: then only the store can be asked. */
  connected: boolean;
  namespace: string;
  /** Address of the embedded server's web UI. */
  webUi?: string;
  /**
   * Puts a question to the server wherever it is by now: the embedded one may have been started anew on another port,
   * and its old port may be that of another folder's server.
   *
   * @throws SoftflowError `TEMPORAL_UNREACHABLE`, retryable, and whatever a server says that does not answer in time
   */
  ask<T>(question: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

interface Server {
  target: TemporalTarget;
  /** Of the embedded server. */
  webUi?: string;
}

/** A server that takes longer than this does not answer; its client alone would try again for half a minute. */
const ANSWER_MS = 10_000;

/**
 * Opens the store and connects to the server: the configured one, which must answer, else the embedded one, which is
 * started (`start`) or used only where it runs (`if running`).
 *
 * @throws SoftflowError `TEMPORAL_UNREACHABLE`, those of the store and of the embedded set-up
 */
export async function openSession(options: { server: 'start' | 'if running' }): Promise<Session> {
  const [{ openStore }, { Runs }, { connect }] = await Promise.all([
    import('../artifacts/store.ts'),
    import('../client/runs.ts'),
    import('../client/connect.ts'),
  ]);
  if (options.server === 'if running' && !hasStore()) throw noRuns();
  let server = await findServer(options.server);
  const store = await openStore(STORE_FOLDER, { create: true });
  let client = server && (await connect(server.target));
  let moving: Promise<void> | undefined;
  const reconnect = async () => {
    const found = await findServer('if running');
    if (!found) throw notRunning();
    if (found.target.address === server?.target.address) return;
    const before = client;
    client = await connect(found.target);
    session.runs = new Runs({ store, client });
    server = found;
    await before?.connection.close();
  };
  const session: Session = {
    runs: new Runs({ store, ...(client ? { client } : {}) }),
    sweeps: async () => {
      const { Sweeps } = await import('../client/sweeps.ts');
      return new Sweeps({ store, ...(client ? { client } : {}) });
    },
    releases: async () => {
      const { Releases } = await import('../client/releases.ts');
      return new Releases({ store, ...(client ? { client } : {}) });
    },
    schedules: async () => {
      const { Schedules } = await import('../client/schedules.ts');
      if (client) return new Schedules({ client, store });
      throw new SoftflowError(
        'TEMPORAL_UNREACHABLE',
        'Schedules live on a Temporal server, and none is running. Next: softflow dev start',
      );
    },
    store,
    runsFolder: RUNS_FOLDER,
    connected: client !== undefined,
    namespace: server?.target.namespace ?? 'default',
    ...(server?.webUi === undefined ? {} : { webUi: server.webUi }),
    ask: async (question) => {
      if (!client || !server) return question();
      if (!(await isThere(server))) {
        moving ??= reconnect().finally(() => {
          moving = undefined;
        });
        await moving;
      }
      return client.withDeadline(Date.now() + ANSWER_MS, question);
    },
    close: async () => client?.connection.close(),
  };
  return session;
}

/** The runs of this folder as the store knows them; needs no server. @throws SoftflowError `RUN_NOT_FOUND`, those of the store */
export async function openStoredRuns(): Promise<Pick<Session, 'runs' | 'sweeps' | 'store'>> {
  if (!hasStore()) throw noRuns();
  const [{ openStore }, { Runs }] = await Promise.all([import('../artifacts/store.ts'), import('../client/runs.ts')]);
  const store = await openStore(STORE_FOLDER);
  const sweeps = async () => new (await import('../client/sweeps.ts')).Sweeps({ store });
  return { runs: new Runs({ store }), sweeps, store };
}

export const hasStore = (): boolean => existsSync(STORE_FOLDER);

function noRuns(): SoftflowError {
  return new SoftflowError(
    'RUN_NOT_FOUND',
    `There are no runs in this folder (${process.cwd()} has no ${STORE_FOLDER}). Go to the folder in which the run was started, or start one: softflow demo, or softflow init for a recipe of your own.`,
  );
}

/** The server that a command finds: the configured one, else the embedded one where it runs. */
export async function findTarget(): Promise<TemporalTarget | undefined> {
  return (await findServer('if running'))?.target;
}

/** Whether a server is where it was found; of a configured one its own answer tells. */
async function isThere({ target, webUi }: Server): Promise<boolean> {
  if (webUi === undefined) return true;
  const { isServing } = await import('../workers/embedded.ts');
  return isServing(target);
}

const notRunning = () =>
  new SoftflowError('TEMPORAL_UNREACHABLE', 'The embedded Temporal server is not running.', { retryable: true });

async function findServer(embedded: 'start' | 'if running'): Promise<Server | undefined> {
  const [{ configuredTarget }, { encryptionKeys }] = await Promise.all([
    import('../client/connect.ts'),
    import('../encryption/keys.ts'),
  ]);
  // Told now: a server that is started with keys that cannot be read would only look as if it did not start.
  encryptionKeys();
  const target = configuredTarget();
  if (target) return { target };
  const { ensureEmbedded, findEmbedded } = await import('../workers/embedded.ts');
  const found = embedded === 'start' ? await ensureEmbedded() : await findEmbedded();
  return found && { target: found.target, webUi: found.uiUrl };
}
