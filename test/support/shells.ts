import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ensureCached } from '../../setup/cache.ts';

export type TestedShell = 'zsh' | 'fish';

/** Debian's packages, unpacked without root into the cache; what else they need is part of any Debian. */
const PACKAGES: Record<TestedShell, { packages: string[]; program: string }> = {
  zsh: { packages: ['zsh', 'zsh-common'], program: 'bin/zsh' },
  fish: { packages: ['fish', 'fish-common', 'libpcre2-32-0'], program: 'usr/bin/fish' },
};

/** A shell of this machine (without `root`), or one unpacked below `root`; the title says which, or why there is none. */
export async function findShell(shell: TestedShell): Promise<{ found: boolean; root?: string; title: string }> {
  const { status } = spawnSync(shell, ['--version']);
  if (status === 0) return { found: true, title: `(${shell} of this machine)` };
  try {
    return { found: true, root: await unpack(shell), title: `(${shell} from Debian's packages)` };
  } catch (error) {
    return { found: false, title: `(skipped, no ${shell}: ${(error as Error).message.split('\n')[0]})` };
  }
}

function unpack(shell: TestedShell): Promise<string> {
  const { packages, program } = PACKAGES[shell];
  return ensureCached({ name: `test/${shell}-debian`, keyFiles: [program] }, async (folder) => {
    const downloads = join(folder, 'packages');
    mkdirSync(downloads);
    run('apt-get', ['download', ...packages], downloads);
    for (const file of readdirSync(downloads)) run('dpkg', ['-x', join(downloads, file), folder], downloads);
    const { status, stderr } = shellRun(shell, folder, ['--version'], folder);
    if (status !== 0) throw new Error(stderr || `${shell} does not start`);
  });
}

function run(command: string, args: string[], cwd: string): void {
  const { status, error, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0) throw error ?? new Error(stderr.trim());
}

/** Runs the shell without anybody's settings; what it writes for itself goes into `home`. */
export function shellRun(
  shell: TestedShell,
  root: string | undefined,
  args: string[],
  home: string,
): SpawnSyncReturns<string> {
  const program = root === undefined ? shell : join(root, PACKAGES[shell].program);
  const env = {
    PATH: process.env['PATH'],
    TERM: 'dumb',
    HOME: home,
    XDG_CONFIG_HOME: home,
    XDG_DATA_HOME: home,
    ...(root === undefined ? {} : { LD_LIBRARY_PATH: join(root, 'usr', 'lib', 'x86_64-linux-gnu') }),
  };
  const options = shell === 'zsh' ? ['-f'] : [];
  return spawnSync(program, [...options, ...args], { cwd: home, encoding: 'utf8', env, timeout: 30_000 });
}

/**
 * A zsh script that types its first argument into an interactive zsh with this completion, presses Tab, and prints the
 * line that is left as `<<line>>`.
 */
export function tabInZsh(root: string | undefined, completion: string, runs: string): string {
  const places =
    root === undefined
      ? ''
      : `module_path=(${root}/usr/lib/*/zsh/*(/N)); fpath=(${root}/usr/share/zsh/functions ${root}/usr/share/zsh/functions/**/*(/N))`;
  const program = root === undefined ? 'zsh' : join(root, PACKAGES.zsh.program);
  return `${places}
zmodload zsh/zpty
zpty -b shell "${program} -f -i"
zpty -w shell ${quote(`${places}
softflow() { print -l ${runs} }
autoload -Uz compinit; compinit -u -D
source ${completion}
setopt no_beep
show() { print -r -- "<<$BUFFER>>" }
zle -N show; bindkey '^Xs' show
PS1='> '; echo RE""ADY`)}
zpty -r -m shell out '*READY*'
zpty -w -n shell "$1"$'\\t'$'\\x18s'
zpty -r -m shell out '*<<*>>*'
print -r -- "$out"
zpty -d shell
`;
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
