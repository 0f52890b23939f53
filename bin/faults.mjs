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
/** Rows that the full level runs with every seed, in the files that take one; the others it runs once. */
const SEEDED = ['R2', 'R3', 'R10', 'R12', 'R18', 'R20'];
const FULL_SEEDS = 20;
const USAGE = `Usage: npm run faults -- [--rows R2,R7] [--seed 1] [--full] [--minutes 60] [--output faults.json]

  --rows    only these rows of the table
  --seed    the training of the kill tests, and where the kills hit; a failure is run again with its seed
  --full    ${FULL_SEEDS} seeds and the long level of the other rows. Hours; may be stopped and started again: each test file
            that ends is kept with its seed and commit in <output>l, and its rows are not run again
  --minutes how long the soak of R16 works; it is a part of the full level only`;

/** Rows of a test's title. */
export function rowsOf(title) {
  return ROWS.exec(title)?.[1].split(', ') ?? [];
}

/**
 * One entry a row, `{id, cases, passed, seconds, figure}`, from vitest's JSON report. A failed test has no case that passed;
 * neither has a row whose file broke before its tests could run. The seconds are those of the tests alone.
 *
 * @param wanted the rows that were to be run, all by default
 */
export function faultTable(report, wanted) {
  const rows = new Map();
  for (const { status, message, assertionResults } of report.testResults) {
    const broke = status === 'failed' && !assertionResults.some((test) => test.status === 'failed');
    for (const test of assertionResults) {
      const skipped = test.status === 'pending' || test.status === 'skipped';
      if (skipped && !broke) continue;
      const { cases, figure } = test.meta?.fault ?? { cases: 1 };
      for (const id of rowsOf(test.title)) {
        if (skipped && wanted && !wanted.includes(id)) continue;
        const row = rows.get(id) ?? { id, cases: 0, passed: 0, seconds: 0, figures: [] };
        row.cases += cases;
        row.seconds += (test.duration ?? 0) / 1000;
        if (test.status === 'passed') row.passed += cases;
        else row.figures.push(`failed: ${test.title}: ${firstLine(test.failureMessages?.[0] ?? message)}`);
        if (figure) row.figures.push(figure);
        rows.set(id, row);
      }
    }
  }
  return sortRows(
    [...rows.values()].map(({ figures, seconds, ...row }) => ({
      ...row,
      seconds: Math.round(seconds * 10) / 10,
      figure: figures.join('; '),
    })),
  );
}

function firstLine(text) {
  return (text ?? '').split('\n')[0];
}

/** The rows of several runs as one table: the first figure stands for all, but none of a failure is left out. */
export function mergeTables(tables) {
  const rows = new Map();
  for (const { id, cases, passed, seconds, figure } of tables.flat()) {
    const row = rows.get(id) ?? { id, cases: 0, passed: 0, seconds: 0, figures: [] };
    if (row.figures.length === 0 || passed < cases) row.figures.push(figure);
    const sums = { cases: row.cases + cases, passed: row.passed + passed, seconds: row.seconds + seconds };
    rows.set(id, { ...row, ...sums });
  }
  return sortRows([...rows.values()].map(({ figures, ...row }) => ({ ...row, figure: figures.join('; ') })));
}

function sortRows(rows) {
  const place = ({ id }) => [id.replace(/\d+/, ''), Number(id.replace(/\D/g, ''))];
  return rows.sort((a, b) => {
    const [[kindA, numberA], [kindB, numberB]] = [place(a), place(b)];
    return kindA === kindB ? numberA - numberB : kindA < kindB ? -1 : 1;
  });
}

/** Test files that hold a row, each with its rows and with whether a seed changes it. */
function faultFiles() {
  const files = readdirSync(join(ROOT, 'test'), { recursive: true }).filter((file) => file.endsWith('.test.ts'));
  return files.sort().flatMap((file) => {
    const text = readFileSync(join(ROOT, 'test', file), 'utf8');
    const rows = [...text.matchAll(/\(([^()]*)\)['"`]/g)].flatMap(([, list]) => rowsOf(`(${list})`));
    // The test of this program names rows, but has none.
    if (rows.length === 0 || file === join('setup', 'faults.test.ts')) return [];
    return [{ file: join('test', file), rows: [...new Set(rows)], seeded: text.includes('SOFTFLOW_FAULT_SEED') }];
  });
}

/**
 * Runs rows of some files once and returns their table; undefined when the runner itself broke. Two files of processes at a
 * time, for a single one leaves a fifth of two cores and more idle.
 */
async function runRows({ files, rows, seed, full }) {
  const folder = mkdtempSync(join(tmpdir(), 'softflow-faults-'));
  const output = join(folder, 'report.json');
  const args = ['run', ...files, '-t', `\\((.*\\W)?(${rows?.join('|') ?? ROW.source})(\\W.*)?\\)$`];
  const level = full ? { SOFTFLOW_TEST_FULL: '1' } : { SOFTFLOW_TEST_HEAVY_FILES: '2' };
  const env = { ...process.env, SOFTFLOW_FAULT_SEED: String(seed), ...level };
  try {
    await new Promise((resolve) => {
      const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
      const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${output}`];
      const options = { cwd: ROOT, env, stdio: ['ignore', 'inherit', 'inherit'] };
      spawn(process.execPath, [vitest, ...args, ...reporters], options).on('close', resolve);
    });
    return existsSync(output) ? faultTable(JSON.parse(readFileSync(output, 'utf8')), rows) : undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function print(rows) {
  const columns = (id, cases, passed, seconds, figure) =>
    `${id.padEnd(7)} ${cases.padStart(8)} ${passed.padStart(8)} ${seconds.padStart(8)}  ${figure.slice(0, 100)}`;
  console.log(`\n${columns('row', 'cases', 'passed', 'seconds', 'figure')}`);
  for (const { id, cases, passed, seconds, figure } of rows)
    console.log(columns(id, String(cases), String(passed), seconds.toFixed(1), figure));
}

/** What this commit has behind it, from the record of earlier starts: `{seed, commit, date, file, ran, rows}` a line. */
function recorded(record, commit) {
  if (!existsSync(record)) return [];
  const lines = readFileSync(record, 'utf8').trim().split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line)).filter((entry) => entry.commit === commit);
}

/** File by file, the first seed first, so that every row has a figure before any is repeated. */
async function runFull({ wanted, seed: first, record }) {
  const commit = spawnSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).stdout.trim();
  for (let seed = first; seed < first + FULL_SEEDS; seed++) {
    for (const { file, rows: all, seeded } of faultFiles()) {
      if (seed > first && !seeded) continue;
      const done = recorded(record, commit).filter((entry) => entry.seed === seed && entry.file === file);
      const ended = done.flatMap((entry) => entry.ran);
      const rows = all.filter((id) => !ended.includes(id) && (wanted ?? all).includes(id));
      const due = seed === first ? rows : rows.filter((id) => SEEDED.includes(id));
      if (due.length === 0) continue;
      const table = await runRows({ files: [file], rows: due, seed, full: true });
      if (!table) return undefined;
      const entry = { seed, commit, date: new Date().toISOString(), file, ran: due, rows: table };
      appendFileSync(record, `${JSON.stringify(entry)}\n`);
    }
  }
  return mergeTables(recorded(record, commit).map(({ rows }) => rows));
}

async function runOnce({ wanted, seed }) {
  const files = faultFiles().filter(({ rows }) => rows.some((id) => !wanted || wanted.includes(id)));
  return runRows({ files: files.map(({ file }) => file), rows: wanted, seed, full: false });
}

async function main() {
  const options = {
    rows: { type: 'string' },
    seed: { type: 'string', default: '1' },
    full: { type: 'boolean', default: false },
    minutes: { type: 'string', default: '60' },
    output: { type: 'string', default: 'faults.json' },
    help: { type: 'boolean', default: false },
  };
  const { values } = parseArgs({ options });
  if (values.help) return console.log(USAGE);
  const wanted = values.rows?.split(',');
  const seed = Number(values.seed);
  const known = wanted?.every((id) => new RegExp(`^(${ROW.source})$`).test(id)) ?? true;
  if (!known || !Number.isInteger(seed) || !(Number(values.minutes) > 0)) throw new Error(USAGE);
  process.env.SOFTFLOW_SOAK_MINUTES = values.minutes;
  const rows = values.full
    ? await runFull({ wanted, seed, record: `${values.output}l` })
    : await runOnce({ wanted, seed });
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
