// Data that grows, to try periodic retraining on: 60 people read 12 series of books, the next part every six hours.
//
//   node examples/growing-csv.mjs shop            # 12 days up to now: shop/items.csv and shop/interactions.csv
//   node examples/growing-csv.mjs shop            # again, later: appends what was read since
//   node examples/growing-csv.mjs shop 2026-11-25T03:00:00Z    # up to another time than now
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [USERS, SERIES, PARTS, DAYS, STEP_SECONDS] = [60, 12, 5, 12, 6 * 3600];
const COLOURS = [
  'Amber',
  'Azure',
  'Coral',
  'Ebony',
  'Green',
  'Ivory',
  'Jade',
  'Lilac',
  'Olive',
  'Ruby',
  'Silver',
  'White',
];

const [folder, until] = process.argv.slice(2);
if (!folder) throw new Error('usage: node examples/growing-csv.mjs <folder> [until]');
const now = Math.floor((until ? Date.parse(until) : Date.now()) / 1000);
if (Number.isNaN(now)) throw new Error(`expected a time such as 2026-11-25T03:00:00Z, got ${until}`);

const interactions = join(folder, 'interactions.csv');
mkdirSync(folder, { recursive: true });
if (!existsSync(interactions)) begin();
const written = lastTime();
const rows = readings(written + 1, now);
appendFileSync(interactions, rows.map((row) => `${row.join(',')}\n`).join(''));
console.log(`${interactions}: ${rows.length} rows added, up to ${new Date(now * 1000).toISOString()}`);

function begin() {
  const items = Array.from({ length: SERIES * PARTS }, (_, item) => `${item},"${title(item)}"\n`);
  writeFileSync(join(folder, 'items.csv'), `item_id,title\n${items.join('')}`);
  writeFileSync(interactions, 'user_id,item_id,timestamp\n');
}

function title(item) {
  return `The ${COLOURS[Math.floor(item / PARTS)]} Door ${(item % PARTS) + 1}`;
}

function lastTime() {
  const last = readFileSync(interactions, 'utf8').trimEnd().split('\n').at(-1);
  return last.startsWith('user_id') ? now - DAYS * 86_400 : Number(last.split(',')[2]);
}

/** Everything that is read from one second to another, in the order of time. */
function readings(from, to) {
  const found = [];
  for (let user = 0; user < USERS; user++) {
    // Everybody reads at minutes of their own.
    const first = Math.ceil((from - offset(user)) / STEP_SECONDS);
    for (let step = first; step * STEP_SECONDS + offset(user) <= to; step++)
      found.push([`u${user}`, itemAt(user, step), step * STEP_SECONDS + offset(user)]);
  }
  return found.sort((a, b) => a[2] - b[2] || (a[0] < b[0] ? -1 : 1));
}

function offset(user) {
  return (user * 349) % STEP_SECONDS;
}

/** Series after series in an order of one's own, each from its first part to its last. */
function itemAt(user, step) {
  const turn = Math.floor(step / PARTS);
  const series = (user * 7 + turn * 5) % SERIES;
  return series * PARTS + (step % PARTS);
}
