#!/usr/bin/env node
// Writes what is generated for programmers: docs/api-reference.md, from the declarations and comments of everything that index.ts exports, and
// docs/activities.schema.json. `npm run reference`; a test says when they are out of date.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildIfStale } from './build.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** A longer declaration is cut: that of a zod schema, which docs/config.schema.json shows better. */
const MAX_LINES = 90;

/** Sections by folder, in the order in which a program meets them. */
const SECTIONS = {
  cli: 'Configs, exports, recommendations',
  client: 'Runs, releases, schedules',
  encryption: 'Encrypted payloads',
  workers: 'Servers and workers',
  activities: 'Activities',
  artifacts: 'The store',
  datasets: 'Tables and data files',
  report: 'Results',
  workflows: 'What a run is and tells',
  'errors.ts': 'Errors',
};

/** The reference as Markdown, from the declarations in dist/. */
export function apiReference(root = ROOT) {
  const entries = exportsOf(join(root, 'dist', 'index.d.ts')).map(({ name, file }) => ({
    file,
    name,
    ...declarationOf(join(root, 'dist'), file, name),
  }));
  const sections = Object.entries(SECTIONS).map(([folder, title]) => {
    const ofFolder = entries.filter(({ file }) => file.split('/')[0] === folder);
    return [`## ${title}`, ...ofFolder.map(render)].join('\n\n');
  });
  return `${[INTRODUCTION, ...sections].join('\n\n')}\n`;
}

const INTRODUCTION = [
  '# API reference',
  '',
  "Everything that `import ... from 'softflow'` gives, made from the declarations by `npm run reference`. [api.md](api.md) shows how it is",
  'used, [examples/](../examples) has programs that run.',
].join('\n');

/** Names that a module exports again, each with the file that has it, in the order of the module. */
export function exportsOf(path) {
  const text = readFileSync(path, 'utf8');
  return [...text.matchAll(/^export (?:type )?\{([^}]*)\} from '\.\/([^']+)';/gm)].flatMap(([, names, file]) =>
    names
      .split(',')
      .map((name) => name.trim().replace(/^type /, ''))
      .filter((name) => name !== '')
      .map((name) => ({ name, file })),
  );
}

/**
 * A declaration with its comment. The compiler prints declarations in one form: each statement begins at the start of a
 * line, and ends at the line on which its brackets are closed. A name that a module only passes on is looked for where it is from.
 */
export function declarationOf(dist, file, name) {
  const lines = readFileSync(join(dist, file.replace(/\.ts$/, '.d.ts')), 'utf8').split('\n');
  const start = lines.findIndex((line) =>
    new RegExp(`^(?:export )?(?:declare )?(?:abstract )?(?:interface|type|class|function|const) ${name}\\b`).test(line),
  );
  if (start < 0) {
    const from = new RegExp(`\\b${name}\\b[^;]*from '([^']+)'`).exec(lines.join('\n'))?.[1];
    if (!from) throw new Error(`${file} has no declaration of ${name}`);
    return declarationOf(dist, posix.join(posix.dirname(file), from), name);
  }
  return { comment: commentBefore(lines, start), code: statement(lines, start) };
}

function commentBefore(lines, start) {
  if (!lines[start - 1]?.trim().endsWith('*/')) return '';
  let first = start - 1;
  while (!lines[first].startsWith('/**')) first--;
  return lines
    .slice(first, start)
    .map((line) => line.replace(/^\s*\/?\*+\/? ?/, '').replace(/ ?\*\/$/, ''))
    .join('\n')
    .trim();
}

function statement(lines, start) {
  let depth = 0;
  let end = start;
  for (; end < lines.length; end++) {
    for (const character of lines[end].replace(/\/\*.*?\*\/|'[^']*'|=>/g, '')) {
      if ('{(['.includes(character)) depth++;
      if ('})]'.includes(character)) depth--;
    }
    if (depth === 0 && /[;}]$/.test(lines[end])) break;
  }
  const kept = lines.slice(start, end + 1).filter((line) => !/^\s*(#private;|private )/.test(line));
  const cut = kept.length > MAX_LINES ? [...kept.slice(0, 12), '    // ... and so on'] : kept;
  return cut.join('\n').replace(/^(export )?(declare )?/, '');
}

function render({ name, comment, code }) {
  return [`### ${name}`, ...(comment === '' ? [] : [prose(comment)]), `\`\`\`ts\n${code}\n\`\`\``].join('\n\n');
}

/** A doc comment as Markdown: each tag a line of its own, examples as code. */
function prose(comment) {
  const [text, ...tags] = comment.split(/(?:^|\s)@(?=(?:param|returns|throws|default|example)\b)/);
  const rendered = tags.map((tag) => {
    const [, kind, rest] = /^(\w+)\s*([\s\S]*)$/.exec(tag);
    if (kind === 'example') return `\`\`\`ts\n${rest.trim()}\n\`\`\``;
    const parameter = kind === 'param' ? rest.replace(/^([\w.]+)/, '`$1`:') : rest;
    return `- ${kind === 'param' ? '' : `${kind}: `}${parameter.trim().replaceAll('\n', '\n  ')}`;
  });
  return [text.trim(), ...rendered].filter((part) => part !== '').join('\n\n');
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  buildIfStale(ROOT);
  const { stepInputJsonSchema } = await import(pathToFileURL(join(ROOT, 'dist', 'activities', 'step-input.js')).href);
  writeFileSync(join(ROOT, 'docs', 'api-reference.md'), apiReference());
  const schemaFile = join(ROOT, 'docs', 'activities.schema.json');
  writeFileSync(schemaFile, JSON.stringify(stepInputJsonSchema()));
  const biome = join(ROOT, 'node_modules', '@biomejs', 'biome', 'bin', 'biome');
  spawnSync(process.execPath, [biome, 'format', '--write', schemaFile], { stdio: 'inherit' });
}
