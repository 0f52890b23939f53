// The fault table: runs the tests whose titles name a row of it, "... (R2)", and puts their figures together.
import { spawn, spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const ROW = /[RS]\d+|poison/;
/** A title's rows: "(R2)", "(R13, R15)". */
const ROWS = new RegExp(`\\(((?:${ROW.source})(?:, (?:${ROW.source}))*)\\)$`);
/** Rows that a seed changes; the full level runs the others once. */
const SEEDED = ['R2', 'R3', 'R10', 'R12', 'R18'];
const FULL_SEEDS = 20;
const USAGE = `Usage: npm run faults -- [--rows R2,R7] [--seed 1] [--full] [--output faults.json]

  --rows    only these rows of the table
  --seed    where the kills hit; a failure is run again with its seed
  --full    ${FULL_SEEDS} seeds and the long level of the store's rows. Hours; may be stopped and started again:
            finished seeds are kept in <output>l with their commit and not run again`;

/** Rows of a test's title. */
export function rowsOf(title) {
  return ROWS.exec(title)?.[1].split(', ') ?? [];
}

/** One entry a row, `{id, cases, passed, figure}`, from vitest's JSON report. A failed test has no case that passed. */
export function faultTable(report) {
  const rows = new Map();
  for (const test of report.testResults.flatMap(({ assertionResults }) => assertionResults)) {
    if (test.status === 'pending' || test.status === 'skipped') continue;
    const { cases, figure } = test.meta?.fault ?? { cases: 1 };
    for (const id of rowsOf(test.title)) {
      const row = rows.get(id) ?? { id, cases: 0, passed: 0, figures: [] };
      row.cases += cases;
      if (test.status === 'passed') row.passed += cases;
      else row.figures.push(`failed: ${test.title}`);
      if (figure) row.figures.push(figure);
      rows.set(id, row);
    }
  }
  return sortRows([...rows.values()].map(({ figures, ...row }) => ({ ...row, figure: figures.join('; ') })));
}

/** The rows of several runs as one table. */
export function mergeTables(tables) {
  const rows = new Map();
  for (const { id, cases, passed, figure } of tables.flat()) {
    const row = rows.get(id) ?? { id, cases: 0, passed: 0, figure };
    rows.set(id, { ...row, cases: row.cases + cases, passed: row.passed + passed });
  }
  return sortRows([...rows.values()]);
}

function sortRows(rows) {
  const place = ({ id }) => [id.replace(/\d+/, ''), Number(id.replace(/\D/g, ''))];
  return rows.sort((a, b) => {
    const [[kindA, numberA], [kindB, numberB]] = [place(a), place(b)];
    return kindA === kindB ? numberA - numberB : kindA < kindB ? -1 : 1;
  });
}

/** Test files that hold a row that is wanted. */
function filesWith(wanted) {
  const files = readdirSync(join(ROOT, 'test'), { recursive: true }).filter((file) => file.endsWith('.test.ts'));
  const named = (file) => [...readFileSync(join(ROOT, 'test', file), 'utf8').matchAll(/\(([^()]*)\)['"`]/g)];
  const rows = (file) => named(file).flatMap(([, list]) => rowsOf(`(${list})`));
  return files.filter((file) => rows(file).some((id) => !wanted || wanted.includes(id))).map((f) => join('test', f));
}

/** Runs the rows once and returns their table; undefined when the runner itself broke. */
async function runRows({ wanted, seed, full }) {
  const folder = mkdtempSync(join(tmpdir(), 'softflow-faults-'));
  const output = join(folder, 'report.json');
  const names = wanted?.join('|') ?? ROW.source;
  const args = ['run', ...filesWith(wanted), '-t', `\\((.*\\W)?(${names})(\\W.*)?\\)$`];
  const env = { ...process.env, SOFTFLOW_FAULT_SEED: String(seed), ...(full ? { SOFTFLOW_TEST_FULL: '1' } : {}) };
  try {
    await new Promise((resolve) => {
      const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
      const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${output}`];
      const options = { cwd: ROOT, env, stdio: ['ignore', 'inherit', 'inherit'] };
      spawn(process.execPath, [vitest, ...args, ...reporters], options).on('close', resolve);
    });
    return existsSync(output) ? faultTable(JSON.parse(readFileSync(output, 'utf8'))) : undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function print(rows) {
  console.log(`\n${'row'.padEnd(7)} ${'cases'.padStart(7)} ${'passed'.padStart(7)}  figure`);
  for (const { id, cases, passed, figure } of rows)
    console.log(`${id.padEnd(7)} ${String(cases).padStart(7)} ${String(passed).padStart(7)}  ${figure.slice(0, 100)}`);
}

/** Seeds that this commit has behind it, from the record of an earlier start. */
function finishedSeeds(record, commit) {
  if (!existsSync(record)) return [];
  const lines = readFileSync(record, 'utf8').trim().split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line)).filter((entry) => entry.commit === commit);
}

async function runFull({ wanted, seed: first, record }) {
  const commit = spawnSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).stdout.trim();
  for (let seed = first; seed < first + FULL_SEEDS; seed++) {
    if (finishedSeeds(record, commit).some((entry) => entry.seed === seed)) continue;
    const seeded = SEEDED.filter((id) => !wanted || wanted.includes(id));
    if (seed > first && seeded.length === 0) break;
    const rows = await runRows({ wanted: seed === first ? wanted : seeded, seed, full: seed === first });
    if (!rows) return undefined;
    appendFileSync(record, `${JSON.stringify({ seed, commit, date: new Date().toISOString(), rows })}\n`);
  }
  return mergeTables(finishedSeeds(record, commit).map(({ rows }) => rows));
}

async function main() {
  const options = {
    rows: { type: 'string' },
    seed: { type: 'string', default: '1' },
    full: { type: 'boolean', default: false },
    output: { type: 'string', default: 'faults.json' },
    help: { type: 'boolean', default: false },
  };
  const { values } = parseArgs({ options });
  if (values.help) return console.log(USAGE);
  const wanted = values.rows?.split(',');
  const seed = Number(values.seed);
  const known = wanted?.every((id) => new RegExp(`^(${ROW.source})$`).test(id)) ?? true;
  if (!known || !Number.isInteger(seed)) throw new Error(USAGE);
  const rows = values.full
    ? await runFull({ wanted, seed, record: `${values.output}l` })
    : await runRows({ wanted, seed, full: false });
  if (!rows || rows.length === 0) throw new Error('No row of the fault table was run.');
  writeFileSync(values.output, `${JSON.stringify(rows, null, 2)}\n`);
  print(rows);
  if (rows.some(({ cases, passed }) => passed < cases)) process.exitCode = 1;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href)
  main().catch((error) => {
    console.error(error.message);
    process.exitCode = 2;
  });
