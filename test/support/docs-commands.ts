import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** A command of a page, with what the page says that it prints. */
export interface DocCommand {
  page: string;
  /** Line of the page, from 1. */
  line: number;
  command: string;
  /** Lines that it prints; undefined where the page shows none. `...` stands for any lines, or for any part of a line. */
  output?: string[];
  /** Shell commands that make what the page takes for granted. */
  before: string[];
  /** Why it is not run; `full` when only the full tests run it. */
  notRun?: string;
  full: boolean;
  exit: number;
  /** Goes on until Ctrl-C, which is pressed once everything that the page shows was printed. */
  ctrlC: boolean;
}

/** Pages whose commands are run, in this order, as they use what earlier ones have made. */
const RUN = [
  'README.md',
  'docs/getting-started.md',
  ...[
    'commands',
    'recipes',
    'data',
    'planning',
    'report',
    'results',
    'releases',
    'store',
    'retraining',
    'sweeps',
    'reliability',
  ].map((name) => `docs/${name}.md`),
];

/** README.md and all of docs/. */
export function docPages(): string[] {
  const docs = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
  return [...RUN, ...docs.map((name) => `docs/${name}`).filter((page) => !RUN.includes(page))];
}

export const readPage = (page: string): string => readFileSync(join(ROOT, page), 'utf8');

/** Blocks that hold commands: `sh` without output, `console` with `$ ` before each command and what it prints below. */
const COMMANDS = new Set(['sh', 'console']);
const FENCE = /^```(\w*)$/;
/** `<!-- before: ... -->`, `<!-- not run: why -->`, `<!-- full -->`, `<!-- exit 3 -->`, `<!-- ctrl-c -->` stand above their block. */
const NOTE = /^<!-- (before|not run|full|exit|ctrl-c):? ?(.*?) ?-->$/;

interface Notes {
  before: string[];
  notRun?: string;
  full: boolean;
  exit: number;
  ctrlC: boolean;
}

/**
 * Every command of a page in order.
 * @throws when a command stands in a block that is neither `sh` nor `console`, so that nothing would run it
 */
export function docCommands(page: string, text = readPage(page)): DocCommand[] {
  const lines = text.split('\n');
  const commands: DocCommand[] = [];
  let notes = noNotes();
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] as string;
    const language = FENCE.exec(line)?.[1];
    if (language !== undefined) {
      const end = lines.indexOf('```', at + 1);
      const block = lines.slice(at + 1, end);
      if (!RUN.includes(page)) notes.notRun ??= 'its page is not one of those that are run';
      if (COMMANDS.has(language)) commands.push(...blockCommands(page, at + 2, language, block, notes));
      else requireNoCommand(page, at + 2, block);
      at = end;
      notes = noNotes();
    } else if (NOTE.test(line)) takeNote(line, notes);
    else requireNoCommand(page, at + 1, line.startsWith('    ') ? [line] : []);
  }
  return commands;
}

const noNotes = (): Notes => ({ before: [], full: false, exit: 0, ctrlC: false });

function takeNote(line: string, notes: Notes): void {
  const [, kind, text = ''] = NOTE.exec(line) as RegExpExecArray;
  if (kind === 'before') notes.before.push(text);
  else if (kind === 'not run') notes.notRun = text || 'no reason given';
  else if (kind === 'full') notes.full = true;
  else if (kind === 'ctrl-c') notes.ctrlC = true;
  else notes.exit = Number(text);
}

function requireNoCommand(page: string, line: number, block: readonly string[]): void {
  if (!RUN.includes(page)) return;
  const found = block.findIndex((each) => /^\s*(?:\$ |(?:npx )?softflow [a-z]|npm (?:run|test|start))/.test(each));
  if (found >= 0)
    throw new Error(`${page}:${line + found}: expected a block \`sh\` or \`console\` around "${block[found]}"`);
}

function blockCommands(page: string, line: number, language: string, block: string[], notes: Notes): DocCommand[] {
  const commands: DocCommand[] = [];
  const { before, ...rest } = notes;
  let open = false;
  for (const [i, text] of block.entries()) {
    const last = commands.at(-1);
    if (open && last) last.command += `\n${text}`;
    else if (language === 'sh' ? text.trim() !== '' && !text.startsWith('#') : text.startsWith('$ ')) {
      const command = language === 'sh' ? text : text.slice(2);
      const output = language === 'sh' ? {} : { output: [] };
      commands.push({ page, line: line + i, command, ...output, ...rest, before: commands.length ? [] : before });
    } else last?.output?.push(text);
    open = text.endsWith('\\');
  }
  return commands;
}

/** What differs from run to run and from machine to machine, written alike; blanks as one. */
export function normalise(text: string): string {
  return text
    .replace(/\b[0-9a-f]{64}\b/g, '<digest>')
    .replace(/\b([\w.]+)-[0-9a-f]{8}\b/g, '$1-<id>')
    .replace(/\b(?=[0-9a-f]*\d)[0-9a-f]{12,40}\b/g, '<key>')
    .replace(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: ?UTC|Z)?/g, '<time>')
    .replace(/127\.0\.0\.1:\d+/g, '127.0.0.1:<port>')
    .replace(/(?<![\w.])(?:< ?)?\d[\d,.]* ?(?:ms|s|min|h|d)\b(?: \d+ ?(?:s|min|h)\b)?/g, '<duration>')
    .replace(/(?<![\w.])\d[\d,.]* ?(?:B|kB|MB|GB)\b/g, '<size>')
    .replace(/[-+−]?\d*\.\d+(?:e[-+]?\d+)?/g, '<number>')
    .replace(/\d+(?= ?%)/g, '<number>')
    .replace(/[ \t]+/g, ' ')
    .trim();
}

/** A line as the page has it, in which `...` stands for anything. */
function linePattern(line: string): RegExp {
  const parts = normalise(line).split('...');
  return new RegExp(`^${parts.map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('.*')}$`);
}

/** The first line of a page that was not printed, with what was; undefined when all are as the page says. */
export function difference(shown: readonly string[], printed: readonly string[]): string | undefined {
  const expected = shown.slice(0, shown.findLastIndex((line) => line.trim() !== '') + 1);
  const found = printed.map(normalise);
  while (found.at(-1) === '') found.pop();
  let at = 0;
  let anywhere = false;
  for (const [i, line] of expected.entries()) {
    if (line.trim() === '...') {
      anywhere = true;
      continue;
    }
    const pattern = linePattern(line);
    const next = anywhere
      ? found.findIndex((each, j) => j >= at && pattern.test(each))
      : pattern.test(found[at] ?? '')
        ? at
        : -1;
    if (next < 0) return `the page says   ${expected[i]}\nit prints       ${printed[at] ?? '(nothing more)'}`;
    at = next + 1;
    anywhere = false;
  }
  if (anywhere || at === found.length) return undefined;
  return `the page ends   ${expected.at(-1) ?? '(without output)'}\nit goes on with ${printed[at]}`;
}
