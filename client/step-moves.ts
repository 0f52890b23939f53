import type { Store } from '../artifacts/store.ts';
import type { RunStatus } from '../workflows/run-state.ts';

/** A step that goes on at another worker than it was begun at. */
export interface StepMove {
  /** Identities of the workers, `<process>@<host>`: before the last move, and since. */
  from: string;
  to: string;
  /** How often it has moved. */
  count: number;
}

/** Of the steps at work, by step id. */
export interface Attempts {
  moved?: Record<string, StepMove>;
  /** What the attempt went on from, in a sentence. */
  resumed?: Record<string, string>;
}

/** How the steps at work came to where they are, as the store knows it: each attempt notes there who makes it and from where. */
export async function attemptsAtWork(store: Store, { runId, steps }: RunStatus): Promise<Attempts> {
  const running = steps.filter(({ state, key }) => state === 'running' && key !== undefined);
  const noted = await Promise.all(
    running.map(async ({ id, key = '' }) => ({ id, notes: await notesOf(store, key, runId) })),
  );
  const moved = byId(noted.map(({ id, notes }) => [id, moveOf(notes)]));
  const resumed = byId(noted.map(({ id, notes }) => [id, notes.findLast((note) => note.resumed)?.resumed]));
  return { ...(moved ? { moved } : {}), ...(resumed ? { resumed } : {}) };
}

interface Note {
  runId?: string;
  worker?: string;
  resumed?: string;
}

async function notesOf(store: Store, key: string, runId: string): Promise<Note[]> {
  return ((await store.readTelemetry(key)) as Note[]).filter((note) => note.runId === runId);
}

function byId<T>(entries: readonly (readonly [string, T | undefined])[]): Record<string, T> | undefined {
  const known = entries.filter((entry): entry is readonly [string, T] => entry[1] !== undefined);
  return known.length > 0 ? Object.fromEntries(known) : undefined;
}

function moveOf(notes: readonly Note[]): StepMove | undefined {
  const workers = notes.flatMap(({ worker }) => (worker ? [worker] : []));
  const moves = workers.flatMap((to, i) => {
    const from = workers[i - 1];
    return from === undefined || from === to ? [] : [{ from, to }];
  });
  const last = moves.at(-1);
  return last && { ...last, count: moves.length };
}
