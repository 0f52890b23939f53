import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SoftflowError } from '../errors.ts';

/** A catalogue of series whose next part follows the last one watched; the same shape as `planted` in the run config. */
export interface PlantedParams {
  series: number;
  minParts: number;
  maxParts: number;
  users: number;
  seriesPerUser: number;
  /** Chance that a user skips a part. */
  skip: number;
  seed: number;
}

export interface PlantedItem {
  itemId: string;
  title: string;
}

export interface PlantedInteraction {
  userId: string;
  itemId: string;
  /** Unix time in seconds. */
  timestamp: number;
}

/** Raised whenever the same parameters give other rows; part of the source's digest. */
export const PLANTED_VERSION = 1;

const ADJECTIVES = (
  'Amber Ancient Autumn Azure Bitter Blazing Bold Brave Brazen Bright Broken Bronze Burning Calm Cobalt Copper Coral ' +
  'Crimson Crystal Dancing Distant Drifting Eastern Electric Emerald Endless Fading Fallen Fearless Forgotten Fragile ' +
  'Frozen Gentle Gilded Golden Grand Hidden Hollow Humble Icy Iron Ivory Jade Lonely Lost Lucky Lunar Marble Midnight ' +
  'Misty Nimble Noble Northern Opal Pale Patient Quiet Rapid Restless Royal Ruby Rusty Sacred Scarlet Secret Shining ' +
  'Silent Silver Solar Stormy Velvet Wandering'
).split(' ');
const NOUNS = (
  'Anchor Arrow Atlas Avenue Bay Bell Bridge Canyon Castle Circus Coast Comet Compass Crown Desert Dragon Eagle Echo ' +
  'Empire Engine Falcon Forest Fortress Fountain Galaxy Garden Gate Glacier Harbor Harvest Horizon Island Jungle ' +
  'Kingdom Ladder Lagoon Lantern Legend Library Lighthouse Machine Market Meadow Mirror Monarch Mountain Museum Oasis ' +
  'Ocean Orchard Orchid Palace Parade Planet Prairie Prison Pyramid Rebel River Sailor Shadow Signal Sparrow Station ' +
  'Temple Theater Thunder Tiger Tower Valley Voyage Wolf'
).split(' ');

const START_SECONDS = Date.UTC(2020, 0, 1) / 1000;
const DAY_SECONDS = 86_400;
/** Users begin within this span, so that a split by time puts both old and new users on each side. */
const SPAN_DAYS = 365;

/** Every draw is a function of its place: (purpose, counters). */
const DRAW = { name: 1, parts: 2, pick: 3, skip: 4, start: 5 } as const;

/**
 * Items of the planted catalogue, series by series: `s001-p1`, "Azure Harbor, Part 1".
 *
 * @throws SoftflowError `DATA_PLANTED` when the parameters contradict each other
 */
export function* plantedItems(params: PlantedParams): Generator<PlantedItem> {
  checkParams(params);
  const names = seriesNames(params);
  for (let series = 0; series < params.series; series++)
    for (let part = 1; part <= partsOf(params, series); part++)
      yield { itemId: itemId(series, part), title: `${names[series]}, Part ${part}` };
}

/**
 * Every user watches `seriesPerUser` different series, one after another, part by part, a part a day, and skips a part
 * with chance `skip`. Rows come user by user.
 */
export function* plantedInteractions(params: PlantedParams): Generator<PlantedInteraction> {
  checkParams(params);
  for (let user = 0; user < params.users; user++) {
    const userId = `u${String(user + 1).padStart(5, '0')}`;
    const start = START_SECONDS + Math.floor(uniform(params.seed, DRAW.start, user) * SPAN_DAYS * DAY_SECONDS);
    let watched = 0;
    for (const series of pickSeries(params, user))
      for (let part = 1; part <= partsOf(params, series); part++) {
        if (uniform(params.seed, DRAW.skip, user, series, part) < params.skip) continue;
        yield { userId, itemId: itemId(series, part), timestamp: start + watched++ * DAY_SECONDS };
      }
  }
}

/** Writes the planted data as a CSV pair and returns the two paths. */
export async function writePlanted(
  params: PlantedParams,
  folder: string,
): Promise<{ interactions: string; items: string }> {
  const paths = { interactions: join(folder, 'planted-interactions.csv'), items: join(folder, 'planted-items.csv') };
  await writeLines(paths.items, function* () {
    yield 'item_id,title\n';
    for (const item of plantedItems(params)) yield `${item.itemId},"${item.title}"\n`;
  });
  await writeLines(paths.interactions, function* () {
    yield 'user_id,item_id,timestamp\n';
    for (const row of plantedInteractions(params)) yield `${row.userId},${row.itemId},${row.timestamp}\n`;
  });
  return paths;
}

async function writeLines(path: string, lines: () => Generator<string>): Promise<void> {
  await pipeline(Readable.from(lines()), createWriteStream(path));
}

function checkParams(params: PlantedParams): void {
  const fail = (message: string) => {
    throw new SoftflowError('DATA_PLANTED', `Planted data: ${message}`, { details: { ...params } });
  };
  const names = ADJECTIVES.length * NOUNS.length;
  if (params.series > names) fail(`expected at most ${names} series, got ${params.series}`);
  if (params.minParts > params.maxParts)
    fail(`expected minParts to be at most maxParts (${params.maxParts}), got ${params.minParts}`);
  if (params.seriesPerUser > params.series)
    fail(`expected seriesPerUser to be at most series (${params.series}), got ${params.seriesPerUser}`);
}

function itemId(series: number, part: number): string {
  return `s${String(series + 1).padStart(4, '0')}-p${String(part).padStart(2, '0')}`;
}

/** Different names, in an order that the seed alone decides. */
function seriesNames(params: PlantedParams): string[] {
  return Array.from({ length: ADJECTIVES.length * NOUNS.length }, (_, i) => ({
    name: `${ADJECTIVES[i % ADJECTIVES.length]} ${NOUNS[Math.floor(i / ADJECTIVES.length)]}`,
    order: uniform(params.seed, DRAW.name, i),
    i,
  }))
    .sort((a, b) => a.order - b.order || a.i - b.i)
    .slice(0, params.series)
    .map(({ name }) => name);
}

function partsOf(params: PlantedParams, series: number): number {
  const choices = params.maxParts - params.minParts + 1;
  return params.minParts + Math.floor(uniform(params.seed, DRAW.parts, series) * choices);
}

/** Draws series until `seriesPerUser` different ones are found; an attempt is one more counter. */
function pickSeries(params: PlantedParams, user: number): Set<number> {
  const picked = new Set<number>();
  for (let attempt = 0; picked.size < params.seriesPerUser; attempt++)
    picked.add(Math.floor(uniform(params.seed, DRAW.pick, user, attempt) * params.series));
  return picked;
}

/** A number in [0, 1) that depends on its arguments alone. Mixing step: the 32-bit finaliser of MurmurHash3. */
function uniform(seed: number, ...counters: number[]): number {
  let hash = mix(seed >>> 0);
  for (const counter of counters) hash = mix((hash ^ mix((counter + 0x9e3779b9) >>> 0)) >>> 0);
  return hash / 2 ** 32;
}

function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
