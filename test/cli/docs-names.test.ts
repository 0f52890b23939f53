import { describe, expect, it } from 'vitest';
import { type CompletedCommand, completedCommands } from '../../cli/completion.ts';
import { buildProgram } from '../../cli/program.ts';
import { openTerminal } from '../../cli/terminal.ts';
import { docCommands, docPages, readPage } from '../support/docs-commands.ts';

const commands = completedCommands(buildProgram(openTerminal({ env: {} })));
const paths = new Set(commands.map(({ path }) => path));

/** `softflow schedule create nightly --cron "..."` -> the command, and the options that it is given. */
function called(text: string): { command: CompletedCommand | undefined; options: string[] } {
  const words = text.replace(/"[^"]*"|'[^']*'/g, '""').split(/\s+/);
  const two = words.slice(0, 2).join(' ');
  const command = commands.find(({ path }) => path === (paths.has(two) ? two : words[0]));
  return {
    command,
    options: words.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.split('=')[0] as string),
  };
}

/** What follows `softflow` in blocks of commands and in the text. */
const mentioned = (page: string): string[] =>
  [
    ...docCommands(page).map(({ command }) => command),
    ...[...readPage(page).matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code),
  ].flatMap((text) => /^(?:npx )?softflow ([a-z][^\n#|<]*)/.exec(text)?.[1]?.trim() ?? []);

describe('the docs', () => {
  it.each(docPages())('%s names only commands and options that there are', (page) => {
    for (const text of mentioned(page)) {
      const { command, options } = called(text);
      expect(command, text).toBeDefined();
      const known = ['--help', ...(command?.options.flatMap(({ flags }) => flags) ?? [])];
      for (const option of options) expect(known, text).toContain(option);
    }
  });

  it('says of every command what its JSON is', () => {
    const page = readPage('docs/commands.md');
    const inner = commands.filter(({ path }) => !commands.some((other) => other.path.startsWith(`${path} `)));
    const without = inner.filter(({ options }) => !options.some(({ flags }) => flags.includes('--json')));
    expect(without.map(({ path }) => path).sort()).toEqual(['completion', 'config schema', 'worker']);
    const table = page.split('\n').filter((line) => line.startsWith('| `'));
    const named = table.flatMap((line) =>
      [...(line.split('|')[1] ?? '').matchAll(/`([a-z -]+)`/g)].map(([, name]) => name),
    );
    const silent = inner.filter((command) => !without.includes(command) && !named.includes(command.path));
    expect(silent.map(({ path }) => path).filter((path) => !named.includes(path.split(' ').at(-1)))).toEqual([]);
  });
});
