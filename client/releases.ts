import {
  type Client,
  WithStartWorkflowOperation,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import {
  type AuditRow,
  auditTable,
  type Decision,
  findReleaseOf,
  promoteRun,
  readDecision,
  recordDecision,
  releaseOf,
} from '../artifacts/decisions.ts';
import { writeReleaseView } from '../artifacts/release-view.ts';
import { currentRelease, type ReleaseMove, releaseMoves, rollbackRelease } from '../artifacts/releases.ts';
import type { Store } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import { type PromoteConfig, PromoteConfigSchema } from '../workflows/promote-config.ts';
import { promoteUpdate, rejectUpdate } from '../workflows/promotion-messages.ts';
import { type PromotionOutcome, promotionId } from '../workflows/promotion-state.ts';
import type { promotionWorkflow } from '../workflows/promotion-workflow.ts';
import { DEFAULT_TASK_QUEUE } from '../workflows/task-queues.ts';

export interface ReleasesOptions {
  /** Absent where only the store can be asked. */
  client?: Client;
  store: Store;
  /** Base name of the task queues. */
  taskQueue?: string;
  /** For tests: how soon a silent worker counts as lost. */
  heartbeatTimeoutSeconds?: number;
}

/** A run that has a release, and what became of it. */
export interface ListedRelease {
  runId: string;
  /** Key of the release step. Runs of one recipe on the same data share it. */
  release: string;
  /** When the run began; RFC 3339. */
  createdAt: string;
  current: boolean;
  /** Numbers of `current` at which it was promoted or rolled back to. */
  numbers: number[];
  /** The newest decision about the run; null when nobody has asked. */
  decision: Decision | null;
}

export interface Wish {
  /** Who asks. */
  by: string;
  /** In their words. */
  reason: string;
}

/** Every call about releases: what is current, what was, and whoever wants to change it. */
export class Releases {
  readonly #client: Client | undefined;
  readonly #store: Store;
  readonly #taskQueue: string;
  readonly #heartbeatTimeoutSeconds: number | undefined;

  constructor({ client, store, taskQueue = DEFAULT_TASK_QUEUE, heartbeatTimeoutSeconds }: ReleasesOptions) {
    this.#client = client;
    this.#store = store;
    this.#taskQueue = taskQueue;
    this.#heartbeatTimeoutSeconds = heartbeatTimeoutSeconds;
  }

  current(): Promise<ReleaseMove | undefined> {
    return currentRelease(this.#store);
  }

  /** Every move of `current`, and every decision that left it where it is, oldest first. */
  audit(): Promise<AuditRow[]> {
    return auditTable(this.#store);
  }

  /** Brings the folder that servers read up to date. @returns its path; undefined before the first promotion */
  writeView(): Promise<string | undefined> {
    return writeReleaseView(this.#store);
  }

  /** The runs that have a release, newest first. */
  async list(): Promise<ListedRelease[]> {
    const moves = await releaseMoves(this.#store);
    const listed = await Promise.all((await this.#store.listRuns()).map((runId) => this.#describe(runId, moves)));
    return listed.flat().sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
  }

  /**
   * Makes a finished run current if it passes the rule of its recipe, whether its promotion waits for a person or nobody
   * has asked yet. `force` passes over the rule and needs no server, unless a promotion waits there.
   *
   * @throws SoftflowError `RUN_UNFINISHED`, `UPDATE_REFUSED`, `TEMPORAL_UNREACHABLE`, those of the test of the champion
   */
  async promote(runId: string, wish: Wish & { force: boolean }): Promise<PromotionOutcome> {
    await releaseOf(this.#store, runId);
    if (wish.force && !(await this.#waits(runId))) return this.#promoteHere(runId, wish);
    const startWorkflowOperation = new WithStartWorkflowOperation<typeof promotionWorkflow>('promotionWorkflow', {
      workflowId: promotionId(runId),
      taskQueue: this.#taskQueue,
      // The promotion that waits is the one that is answered; else one is started that asks nobody.
      workflowIdConflictPolicy: 'USE_EXISTING',
      staticSummary: `promote ${runId}`,
      args: [
        {
          runId,
          promote: await this.#rule(runId),
          ...(this.#heartbeatTimeoutSeconds ? { heartbeatTimeoutSeconds: this.#heartbeatTimeoutSeconds } : {}),
        },
      ],
    });
    return answered(runId, () =>
      this.#requireClient().workflow.executeUpdateWithStart(promoteUpdate, { args: [wish], startWorkflowOperation }),
    );
  }

  /**
   * Says no to a run, whether its promotion waits for a person or nobody has asked yet. `current` stays where it is.
   *
   * @throws SoftflowError `RUN_UNFINISHED`, `UPDATE_REFUSED`
   */
  async reject(runId: string, wish: Wish): Promise<void> {
    const release = await releaseOf(this.#store, runId);
    if (await this.#waits(runId)) {
      const handle = this.#requireClient().workflow.getHandle(promotionId(runId));
      await answered(runId, () => handle.executeUpdate(rejectUpdate, { args: [wish] }));
      return;
    }
    const champion = (await currentRelease(this.#store))?.release ?? null;
    const metrics = await this.#figures(runId, champion);
    await recordDecision(this.#store, { decision: 'rejected', runId, release, champion, ...wish, metrics });
  }

  /**
   * Goes back to the release before the current one, or to a named one that was current once.
   *
   * @throws SoftflowError `ROLLBACK_IMPOSSIBLE`, `RELEASE_MOVED` when somebody else was faster
   */
  async rollback({ to, ...wish }: Wish & { to?: string }): Promise<ReleaseMove> {
    const release = to === undefined ? {} : { to: await this.find(to) };
    const { won, current } = await rollbackRelease(this.#store, { ...wish, ...release });
    if (!won) throw movedMeanwhile(current);
    await writeReleaseView(this.#store);
    return current;
  }

  /**
   * A release by its key, by one of its runs, or by the beginning of either: made into the key.
   *
   * @throws SoftflowError `RELEASE_NOT_FOUND`, `RELEASE_AMBIGUOUS`
   */
  async find(name: string): Promise<string> {
    const listed = await this.list();
    const served = await releaseMoves(this.#store);
    const ofRun = listed.find(({ runId }) => runId === name)?.release;
    const fits = ({ runId, release }: { runId: string | null; release: string }) =>
      name !== '' && (release.startsWith(name) || runId?.startsWith(name));
    const matches = ofRun ? [ofRun] : [...new Set([...listed, ...served].filter(fits).map(({ release }) => release))];
    if (matches.length === 1 && matches[0]) return matches[0];
    const [code, found] = matches.length === 0 ? ['RELEASE_NOT_FOUND', 'No'] : ['RELEASE_AMBIGUOUS', 'More than one'];
    throw new SoftflowError(code, `${found} release or run "${name}". See \`softflow releases\`.`, {
      details: { name },
    });
  }

  async #describe(runId: string, moves: readonly ReleaseMove[]): Promise<ListedRelease[]> {
    const release = await findReleaseOf(this.#store, runId);
    if (release === undefined) return [];
    const start = (await this.#store.readRunRecord(runId, 'start'))?.value as { createdAt: string } | undefined;
    const numbers = moves.filter((move) => move.release === release).map(({ number }) => number);
    const current = moves.at(-1)?.release === release;
    const decision = (await readDecision(this.#store, runId)) ?? null;
    return [{ runId, release, createdAt: start?.createdAt ?? decision?.at ?? '', current, numbers, decision }];
  }

  /** Whether the promotion waits for a person; the server knows, or else what the store says last. */
  async #waits(runId: string): Promise<boolean> {
    if (!this.#client) return (await readDecision(this.#store, runId))?.decision === 'waiting';
    try {
      const { status } = await this.#client.workflow.getHandle(promotionId(runId)).describe();
      return status.name === 'RUNNING';
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  }

  /** Without the rule nothing has to be computed, so the store is enough. */
  async #promoteHere(runId: string, { by, reason }: Wish): Promise<PromotionOutcome> {
    const release = await releaseOf(this.#store, runId);
    const before = await currentRelease(this.#store);
    const champion = before?.release ?? null;
    const why = reason || 'promoted without the rule';
    const outcome = { why, runId, release, champion, judgement: null };
    if (champion === release)
      return { ...outcome, decision: 'kept', why: 'its release is current already', number: null };
    const expected = before?.number ?? 0;
    const metrics = await this.#figures(runId, champion);
    const { won, current } = await promoteRun(this.#store, { release, runId, expected, by, reason: why, metrics });
    if (!won) throw movedMeanwhile(current);
    await writeReleaseView(this.#store);
    return { ...outcome, decision: 'promoted', number: current.number };
  }

  /** What a person knew when they passed over the rule: the last judgement, if it was made against this champion. */
  async #figures(runId: string, champion: string | null): Promise<Decision['metrics']> {
    const decision = await readDecision(this.#store, runId);
    return decision?.champion === champion ? decision.metrics : {};
  }

  async #rule(runId: string): Promise<PromoteConfig> {
    const config = (await this.#store.readRunRecord(runId, 'config'))?.value as { promote?: unknown } | undefined;
    return PromoteConfigSchema.parse(config?.promote ?? {});
  }

  #requireClient(): Client {
    if (this.#client) return this.#client;
    throw new SoftflowError(
      'TEMPORAL_UNREACHABLE',
      'This needs a Temporal server, and none is running. Next: softflow dev start',
    );
  }
}

async function answered<T>(runId: string, send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    if (!(error instanceof WorkflowUpdateFailedError)) throw error;
    const { cause } = error;
    const code = cause instanceof ApplicationFailure && cause.type ? cause.type : 'UPDATE_REFUSED';
    throw new SoftflowError(code, `Run ${runId}: ${cause?.message ?? error.message}`, { cause: error });
  }
}

function movedMeanwhile(current: ReleaseMove | undefined): SoftflowError {
  return new SoftflowError(
    'RELEASE_MOVED',
    `Somebody else has moved \`current\` meanwhile${current ? `: it is ${current.release} now, by ${current.by}` : ''}. ` +
      'See `softflow releases --audit` and decide again.',
    { details: { current: current?.release ?? null } },
  );
}
