import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli } from '../../cli/program.ts';
import { openTerminal } from '../../cli/terminal.ts';

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
  expect(offered('run', 'ba')).toEqual(['bash']);
});

test('zsh and fish know every command', () => {
  for (const shell of ['zsh', 'fish'])
    for (const word of ['plan', 'resume', 'completion', 'schema'])
      expect(scripts[shell]).toMatch(new RegExp(`'${word}[':]`));
  for (const shell of ['zsh', 'fish']) {
    const { error, status, stderr } = spawnSync(shell, ['-n', join(folder, shell)], { encoding: 'utf8' });
    // Only where that shell is installed.
    if (!error) expect([shell, status, stderr]).toEqual([shell, 0, '']);
  }
});

test('another shell is refused, with the one that was meant', async () => {
  const { code, err } = await softflow('completion', 'zhs');
  expect(code).toBe(2);
  expect(err).toContain('did you mean "zsh"?');
});
