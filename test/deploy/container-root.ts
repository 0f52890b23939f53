import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from './deploy-files.ts';

const execute = promisify(execFile);
const DEBIAN = 'bookworm';

/** Why no clean Debian root can be made here; undefined when it can. */
export function rootMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'not root, so no chroot';
  if (spawnSync('unshare', ['--mount', 'true']).status !== 0) return 'mounts are not allowed';
  return spawnSync('apt-cache', ['show', 'debootstrap']).status === 0 ? undefined : 'no debootstrap to be had';
}

/** What an image would be: a folder as its file system, and what a container is started with. */
export interface Root {
  folder: string;
  env: Record<string, string>;
  workdir: string;
  user: string;
  entrypoint: string[];
  command: string[];
}

/** A minimal Debian with Node.js of this machine at the place where the official images have it. */
export async function debianWithNode(work: string): Promise<string> {
  const tools = join(work, 'debootstrap');
  mkdirSync(tools, { recursive: true });
  await execute('apt-get', ['download', 'debootstrap'], { cwd: tools });
  await execute('sh', ['-c', 'dpkg-deb --extract debootstrap_*.deb .'], { cwd: tools });
  const root = join(work, 'base');
  await execute(
    'sh',
    [join(tools, 'usr/sbin/debootstrap'), '--variant=minbase', `--include=libstdc++6`, DEBIAN, root],
    {
      env: { ...process.env, DEBOOTSTRAP_DIR: join(tools, 'usr/share/debootstrap') },
      maxBuffer: 2 ** 26,
    },
  );
  const npm = join(dirname(dirname(realpathSync(process.execPath))), 'lib/node_modules/npm');
  cpSync(process.execPath, join(root, 'usr/local/bin/node'));
  cpSync(npm, join(root, 'usr/local/lib/node_modules/npm'), { recursive: true });
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'));
  return root;
}

/** What this machine's package clients need to reach their registries. */
const CLIENT_FILES = [
  '/etc/resolv.conf',
  '/etc/hosts',
  '/etc/apt/sources.list.d/debian.sources',
  '/etc/apt/sources.list',
  '/etc/apt/apt.conf.d/99artifact-registry',
  '/etc/pip.conf',
  '/root/.npmrc',
  '/usr/local/share/ca-certificates',
  '/etc/ssl/certs',
];

function clientEnvironment(): Record<string, string> {
  const names = /proxy$|CERT|_CA_|CA_BUNDLE|^PIP_|^npm_config_/i;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => names.test(name))) as Record<string, string>;
}

function takeAlong(root: string): void {
  const certificates = Object.values(clientEnvironment()).filter((path) => existsSync(path) && statSync(path).isFile());
  for (const path of [...CLIENT_FILES, ...certificates].filter(existsSync))
    cpSync(path, join(root, path), { recursive: true, dereference: true, force: true });
}

/** Follows a Containerfile as a builder would, each RUN in its root; the last stage is what comes out. */
export class Builder {
  readonly #work: string;
  readonly #base: string;
  readonly #args: Record<string, string>;
  readonly #stages = new Map<string, Root>();
  #root: Root | undefined;

  constructor(work: string, base: string, args: Record<string, string>) {
    this.#work = work;
    this.#base = base;
    this.#args = args;
  }

  /** @param prepare called with each stage's folder before its first instruction */
  async build(containerfile: string, prepare: (folder: string) => void): Promise<Root> {
    for (const line of containerfile.split('\n').filter((text) => text.trim() !== '' && !text.startsWith('#'))) {
      const [, instruction = '', rest = ''] = /^(\w+)\s+(.*)$/.exec(line) ?? [];
      if (instruction === 'FROM') {
        this.#from(rest);
        prepare(this.#stage.folder);
      } else await this.#follow(instruction, rest);
    }
    return this.#stage;
  }

  get #stage(): Root {
    if (!this.#root) throw new Error('an instruction before FROM');
    return this.#root;
  }

  #from(rest: string): void {
    const [, , name = `stage-${this.#stages.size}`] = /^(\S+)(?: AS (\S+))?$/.exec(rest) ?? [];
    const folder = join(this.#work, name);
    execFileSync('cp', ['--archive', this.#base, folder]);
    takeAlong(folder);
    const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    this.#root = { folder, env: { PATH }, workdir: '/', user: '0:0', entrypoint: [], command: [] };
    this.#stages.set(name, this.#root);
  }

  async #follow(instruction: string, rest: string): Promise<void> {
    const text = rest.replace(/\$\{(\w+)\}/g, (_, name: string) => this.#args[name] ?? '');
    if (instruction === 'ARG') {
      const [name = '', value = ''] = rest.split('=');
      this.#args[name] ??= value;
      return;
    }
    const root = this.#stage;
    switch (instruction) {
      case 'ENV':
        for (const pair of text.split(' ')) root.env[pair.split('=')[0] as string] = pair.split('=')[1] ?? '';
        return;
      case 'WORKDIR':
        root.workdir = text;
        mkdirSync(join(root.folder, text), { recursive: true });
        return;
      case 'USER':
        root.user = text;
        return;
      case 'COPY':
        return this.#copy(text);
      case 'RUN':
        await inRoot({ ...root, env: { ...clientEnvironment(), ...root.env, HOME: '/root' } }, ['/bin/sh', '-c', text]);
        return;
      case 'ENTRYPOINT':
        root.entrypoint = JSON.parse(text);
        return;
      case 'CMD':
        root.command = JSON.parse(text);
        return;
      case 'EXPOSE':
      case 'STOPSIGNAL':
        return;
      default:
        throw new Error(`no such instruction here: ${instruction}`);
    }
  }

  #copy(text: string): void {
    const { folder, workdir } = this.#stage;
    const [first = '', ...others] = text.split(' ');
    const from = /^--from=(\S+)$/.exec(first)?.[1];
    const paths = from ? others : [first, ...others];
    const to = paths.pop() as string;
    const target = to.startsWith('/') ? to : join(workdir, to);
    if (from) {
      const source = join(this.#stages.get(from)?.folder ?? '', paths[0] as string);
      execFileSync('cp', ['--archive', source, join(folder, target)]);
      return;
    }
    for (const file of contextFiles().filter((name) => paths[0] === '.' || paths.includes(name)))
      cpSync(join(ROOT, file), join(folder, target, file));
  }
}

/** Files that git knows, less what the ignore file keeps out. */
function contextFiles(): string[] {
  const ignored = readFileSync(join(ROOT, 'deploy/Containerfile.dockerignore'), 'utf8').split('\n').filter(Boolean);
  const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: ROOT });
  return files
    .toString()
    .split('\n')
    .filter((file) => file !== '' && existsSync(join(ROOT, file)) && !ignored.includes(file.split('/')[0] as string));
}

export interface Mounts {
  /** The root file system cannot be written; /tmp is memory. */
  readOnly: boolean;
  /** Folder of this machine at `/softflow`. */
  volume: string;
}

/** The command line that runs a program in a root, in mounts of its own which are gone with it. */
export function commandLine({ folder, workdir, user, env }: Root, args: string[], mounts?: Mounts): string[] {
  const quoted = (texts: string[]) => texts.map((text) => `'${text.replaceAll("'", `'\\''`)}'`).join(' ');
  const root = quoted([folder]);
  const lines = [
    'set -e',
    `mount --bind ${root} ${root}`,
    ...(mounts ? [`mount --bind ${quoted([mounts.volume])} ${root}/softflow`] : []),
    ...(mounts?.readOnly ? [`mount -o remount,bind,ro ${root}`, `mount -t tmpfs tmpfs ${root}/tmp`] : []),
    `mount -t proc proc ${root}/proc`,
    `mount --bind /dev ${root}/dev`,
    `exec env --ignore-environment ${quoted(Object.entries(env).map(([name, value]) => `${name}=${value}`))} ` +
      `chroot --userspec=${user} ${root} /bin/sh -c ${quoted([`cd ${quoted([workdir])} && exec "$@"`])} sh ${quoted(args)}`,
  ];
  return ['unshare', '--mount', '--propagation', 'private', '/bin/sh', '-c', lines.join('\n')];
}

/** Runs a program in a root to its end. */
export async function inRoot(root: Root, args: string[], mounts?: Mounts): Promise<string> {
  const [program = '', ...rest] = commandLine(root, args, mounts);
  const { stdout } = await execute(program, rest, { maxBuffer: 2 ** 28 });
  return stdout;
}
