import { setTimeout } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { SoftflowError } from '../errors.ts';

export const DEFAULT_DEPLOYMENT = 'softflow';

/** A build of softflow whose workers serve, or have served, the workflow queue. */
export interface Build {
  buildId: string;
  /** `current` takes new runs; `draining` still has runs of its own; `drained` may be taken away. */
  status: 'inactive' | 'current' | 'ramping' | 'draining' | 'drained' | 'unknown';
  /** When its first worker came; ISO 8601. */
  createdAt: string | null;
}

/** Temporal's numbers of them. */
const STATUS: readonly Build['status'][] = ['unknown', 'inactive', 'current', 'ramping', 'draining', 'drained'];
/** Of gRPC. */
const NOT_FOUND = 5;
const FAILED_PRECONDITION = 9;
const READY_POLL_MS = 250;

/** Every call about builds: Temporal's worker deployment, one version a build. */
export class Builds {
  readonly #client: Client;
  readonly #deployment: string;
  readonly #readyWithinMs: number;

  /** `readyWithinMs`: how long a build that has come with some of its queues may take to come with the others. */
  constructor(client: Client, deployment = DEFAULT_DEPLOYMENT, readyWithinMs = 10_000) {
    this.#client = client;
    this.#deployment = deployment;
    this.#readyWithinMs = readyWithinMs;
  }

  /** Newest first; none before the first worker with a build id has come. */
  async list(): Promise<Build[]> {
    const { namespace, workflowService } = this.#service();
    try {
      const { workerDeploymentInfo } = await workflowService.describeWorkerDeployment({
        namespace,
        deploymentName: this.#deployment,
      });
      const builds = (workerDeploymentInfo?.versionSummaries ?? []).map((version) => ({
        buildId: version.deploymentVersion?.buildId ?? '',
        status: STATUS[version.status ?? 0] ?? 'unknown',
        createdAt: version.createTime ? new Date(Number(version.createTime.seconds) * 1000).toISOString() : null,
      }));
      return builds.sort((a, b) => ((a.createdAt ?? '') < (b.createdAt ?? '') ? 1 : -1));
    } catch (error) {
      if (codeOf(error) === NOT_FOUND) return [];
      throw error;
    }
  }

  /**
   * New runs begin with this build from now on; those at work end with theirs. A worker's queues come one after the
   * other, so a build that has come with some of them is asked for again for a while.
   *
   * @throws SoftflowError `BUILD_NOT_FOUND`, `BUILD_NOT_READY`
   */
  async use(buildId: string): Promise<void> {
    const { namespace, workflowService } = this.#service();
    const deploymentName = this.#deployment;
    const request = { namespace, deploymentName, buildId, identity: 'softflow' };
    const deadline = performance.now() + this.#readyWithinMs;
    for (;;) {
      try {
        await workflowService.setWorkerDeploymentCurrentVersion(request);
        return;
      } catch (error) {
        const code = codeOf(error);
        if (code !== NOT_FOUND && code !== FAILED_PRECONDITION) throw error;
        const known = (await this.list()).map((build) => build.buildId);
        if (!known.includes(buildId)) throw this.#notFound(buildId, known);
        if (performance.now() > deadline) throw this.#notReady(buildId, error);
        await setTimeout(READY_POLL_MS);
      }
    }
  }

  #notFound(buildId: string, known: readonly string[]): SoftflowError {
    return new SoftflowError(
      'BUILD_NOT_FOUND',
      `No worker of build "${buildId}" has come to deployment "${this.#deployment}". ` +
        `${known.length > 0 ? `There are ${known.join(', ')}. ` : ''}Start one: softflow worker --queues workflow --build-id ${buildId}`,
      { details: { buildId, deployment: this.#deployment } },
    );
  }

  #notReady(buildId: string, cause: unknown): SoftflowError {
    const reason = (cause as { details?: string }).details ?? String(cause);
    return new SoftflowError(
      'BUILD_NOT_READY',
      `Build "${buildId}" of deployment "${this.#deployment}" cannot take new runs yet. The server says: ${reason}. ` +
        'Start its workers for every queue that the current build serves, and ask again.',
      { retryable: true, details: { buildId, deployment: this.#deployment }, cause },
    );
  }

  #service() {
    const { options, connection } = this.#client;
    return { namespace: options.namespace, workflowService: connection.workflowService };
  }
}

function codeOf(error: unknown): number | undefined {
  return (error as { code?: number }).code;
}
