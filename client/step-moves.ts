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

/** By step id. */
export interface Moved {
  moved?: Record<string, StepMove>;
}

/** The steps at work that have moved, as the store knows it: each attempt notes there who makes it. */
export async function movedSteps(store: Store, { runId, steps }: RunStatus): Promise<Moved> {
  const running = steps.filter(({ state, key }) => state === 'running' && key !== undefined);
  const moves = await Promise.all(
    running.map(async ({ id, key = '' }) => [id, moveOf(await store.readTelemetry(key), runId)] as const),
  );
  const moved = moves.flatMap(([id, move]) => (move ? [[id, move] as const] : []));
  return moved.length > 0 ? { moved: Object.fromEntries(moved) } : {};
}

function moveOf(telemetry: readonly unknown[], runId: string): StepMove | undefined {
  const attempts = telemetry as readonly { runId?: string; worker?: string }[];
  const workers = attempts.flatMap((attempt) => (attempt.runId === runId && attempt.worker ? [attempt.worker] : []));
  const moves = workers.flatMap((to, i) => {
    const from = workers[i - 1];
    return from === undefined || from === to ? [] : [{ from, to }];
  });
  const last = moves.at(-1);
  return last && { ...last, count: moves.length };
}
