import { execFile, spawnSync } from 'node:child_process';
import { cp, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ensureCached } from '../../setup/cache.ts';
import { ensureTemporalServer } from '../../setup/temporal.ts';

const MODULE = 'go.temporal.io/server';
const run = promisify(execFile);

/** Why Temporal's own server cannot be built here; undefined when it can. */
export const temporalServerMissing =
  spawnSync('go', ['version']).status === 0 ? undefined : 'no Go compiler to build the Temporal server with';

/** The server of an image `temporalio/server:<version>` with its schema tool and schemas, built once from its Go module. */
export async function ensureServerPrograms(version: string): Promise<{ server: string; sql: string; schema: string }> {
  const name = `temporal-server/${version}-${process.platform}-${process.arch}`;
  const keyFiles = ['server', 'sql', 'schema/postgresql/v12/version.go'];
  const folder = await ensureCached({ name, keyFiles, needsBytes: 3_000_000_000 }, async (target) => {
    const programs = ['cmd/server', 'cmd/tools/sql'].map((path) => `${MODULE}/${path}@v${version}`);
    await run('go', ['install', '-trimpath', '-ldflags', '-s -w', ...programs], {
      env: { ...process.env, GOBIN: target },
      maxBuffer: 2 ** 26,
    });
    const { stdout } = await run('go', ['mod', 'download', '-json', `${MODULE}@v${version}`]);
    await cp(join((JSON.parse(stdout) as { Dir: string }).Dir, 'schema'), join(target, 'schema'), {
      recursive: true,
    });
  });
  return { server: join(folder, 'server'), sql: join(folder, 'sql'), schema: join(folder, 'schema') };
}

/** A folder with the programs of the image `temporalio/admin-tools`, by their names there, for `PATH`. */
export async function adminTools(folder: string, sql: string): Promise<string> {
  await mkdir(folder);
  await symlink(sql, join(folder, 'temporal-sql-tool'));
  await symlink(await ensureTemporalServer(), join(folder, 'temporal'));
  return folder;
}
