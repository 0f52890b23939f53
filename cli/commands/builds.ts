import type { Build } from '../../client/builds.ts';
import { SoftflowError } from '../../errors.ts';
import { align } from '../../report/format.ts';
import { EXIT } from '../exit-codes.ts';
import { findTarget } from '../session.ts';
import { oneLine, type Terminal } from '../terminal.ts';

export interface BuildsOptions {
  deployment: string;
  json?: boolean;
}

const MEANING: Record<Build['status'], string> = {
  inactive: 'no run has begun with it',
  current: 'new runs begin with it',
  ramping: 'a share of new runs begins with it',
  draining: 'runs of its own are at work; keep a worker of it',
  drained: 'its workers may go',
  unknown: '',
};

/** Lists builds; with an id, makes that build current first. */
export async function builds(
  buildId: string | undefined,
  { deployment, json }: BuildsOptions,
  terminal: Terminal,
): Promise<number> {
  const target = await findTarget();
  if (!target)
    throw new SoftflowError(
      'TEMPORAL_UNREACHABLE',
      'Builds are known to a Temporal server, and none is running. Set TEMPORAL_ADDRESS (or a profile), or start the embedded one: softflow dev start',
    );
  const [{ connect }, { Builds }] = await Promise.all([
    import('../../client/connect.ts'),
    import('../../client/builds.ts'),
  ]);
  const client = await connect(target);
  try {
    const all = new Builds(client, deployment);
    if (buildId !== undefined) await all.use(buildId);
    const found = await all.list();
    if (json) terminal.out(JSON.stringify(found, null, 2));
    else print(found, deployment, terminal);
  } finally {
    await client.connection.close();
  }
  return EXIT.ok;
}

function print(found: readonly Build[], deployment: string, terminal: Terminal): void {
  if (found.length === 0)
    terminal.out(`No builds in deployment ${deployment}: workers without --build-id serve all runs.`);
  const rows = found.map(({ buildId, status, createdAt }) => [
    oneLine(buildId, 64),
    status,
    createdAt ?? '',
    MEANING[status],
  ]);
  for (const line of align(rows)) terminal.out(line);
}
