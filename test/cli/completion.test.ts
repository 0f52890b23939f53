import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli } from '../../cli/program.ts';
import { openTerminal } from '../../cli/terminal.ts';
import { findShell, shellRun as runShell, tabInZsh } from '../support/shells.ts';

let folder: string;
const scripts: Record<string, string> = {};

async function softflow(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const [out, err]: [string[], string[]] = [[], []];
  const terminal = openTerminal({
    stdout: { write: (text) => out.push(text) },
    stderr: { write: (text) => err.push(text) },
    env: {},
  });
  return { code: await runCli(args, terminal), out: out.join(''), err: err.join('') };
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'softflow-completion-'));
  for (const shell of ['bash', 'zsh', 'fish']) {
    scripts[shell] = (await softflow('completion', shell)).out;
    writeFileSync(join(folder, shell), scripts[shell]);
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

/** What bash offers when Tab is pressed after these words. */
function offered(...words: string[]): string[] {
  const quoted = ['softflow', ...words].map((word) => `'${word}'`).join(' ');
  const script = `
    softflow() { echo "latest demo-1234abcd"; }
    source ${join(folder, 'bash')}
    COMP_WORDS=(${quoted}); COMP_CWORD=${words.length}; _softflow; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script], { cwd: folder, encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
  return stdout.split('\n').filter(Boolean);
}

test('bash completes commands, subcommands, options, their values and run ids', () => {
  expect(offered('pl')).toEqual(['plan']);
  expect(offered('')).toEqual(expect.arrayContaining(['run', 'watch', 'config', 'completion', '--version']));
  expect(offered('config', 's')).toEqual(['schema', 'show']);
  expect(offered('config', 'show', '--j')).toEqual(['--json']);
  expect(offered('plan', '--s')).toEqual(['--set']);
  expect(offered('watch', 'de')).toEqual(['demo-1234abcd']);
  expect(offered('stop', 'latest', '--after', '')).toEqual(['now', 'round']);
  expect(offered('resume', 'latest', '--from', 'cu')).toEqual(['curriculum']);
  expect(offered('run', 'bash', '--until', 's')).toEqual(['sft', 'self-distil']);
  expect(offered('run', 'ba')).toEqual(['bash']);
});

const shellRun = (shell: 'zsh' | 'fish', root: string | undefined, args: string[]) =>
  runShell(shell, root, args, folder);
const RUNS = 'latest demo-1234abcd';

/** The line after Tab was pressed behind `line`, in an interactive zsh. */
function zshLine(root: string | undefined, line: string): string {
  writeFileSync(join(folder, 'tab.zsh'), tabInZsh(root, join(folder, 'zsh'), RUNS));
  const { status, stdout, stderr } = shellRun('zsh', root, [join(folder, 'tab.zsh'), line]);
  expect([status, stderr]).toEqual([0, '']);
  return stdout.match(/<<(.*)>>/)?.[1] ?? stdout;
}

function fishOffers(root: string | undefined, line: string): string[] {
  const functions = root === undefined ? '' : `set -p fish_function_path '${root}/usr/share/fish/functions';`;
  const script = `${functions} function softflow; string split ' ' '${RUNS}'; end
    source '${join(folder, 'fish')}'; complete -C '${line}'`;
  const { status, stdout, stderr } = shellRun('fish', root, ['--no-config', '-c', script]);
  expect([status, stderr]).toEqual([0, '']);
  return stdout.split('\n').flatMap((offer) => offer.split('\t')[0] || []);
}

const zsh = await findShell('zsh');
test.skipIf(!zsh.found)(`zsh completes the same ${zsh.title}`, () => {
  expect(zshLine(zsh.root, 'softflow pl')).toBe('softflow plan ');
  expect(zshLine(zsh.root, 'softflow config sc')).toBe('softflow config schema ');
  expect(zshLine(zsh.root, 'softflow config show --j')).toBe('softflow config show --json ');
  expect(zshLine(zsh.root, 'softflow watch de')).toBe('softflow watch demo-1234abcd ');
  expect(zshLine(zsh.root, 'softflow stop latest --after r')).toBe('softflow stop latest --after round ');
  expect(zshLine(zsh.root, 'softflow run ba')).toBe('softflow run bash ');
});

const fish = await findShell('fish');
test.skipIf(!fish.found)(`fish completes the same ${fish.title}`, () => {
  expect(fishOffers(fish.root, 'softflow pl')).toEqual(['plan']);
  expect(fishOffers(fish.root, 'softflow config ')).toEqual(['schema', 'show']);
  expect(fishOffers(fish.root, 'softflow config show --j')).toEqual(['--json']);
  expect(fishOffers(fish.root, 'softflow watch de')).toEqual(['demo-1234abcd']);
  expect(fishOffers(fish.root, 'softflow stop latest --after ')).toEqual(['now', 'round']);
  expect(fishOffers(fish.root, 'softflow run ba')).toEqual(['bash']);
});

test('another shell is refused, with the one that was meant', async () => {
  const { code, err } = await softflow('completion', 'zhs');
  expect(code).toBe(2);
  expect(err).toContain('did you mean "zsh"?');
});
