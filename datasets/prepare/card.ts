import type { Duck } from '../duck.ts';
import type { PrepareParams } from './params.ts';
import type { Years } from './read-titles.ts';

/** How many windows, users, items and rows there are and why rows were dropped; canonical, without run times and paths. */
export interface DatasetCard {
  source: { kind: string; digest: string };
  params: PrepareParams;
  counts: Record<string, number>;
  timeUnit: 's' | 'ms';
  /** First and last kept interaction, and the first target of each split, ISO 8601; null when nothing can be tested. */
  times: { first: string; last: string; valid: string; test: string | null };
  /** Rows that share user and time with another, and the rule that orders them. */
  ties: { rows: number; rule: string };
  /** Titles that several items carry; the first item's row stands for all. */
  titleCollisions: { titles: number; items: number; examples: string[] };
  years: Years;
  sampling: string;
  /** Of what the train and validation windows say; only with `asOf` or `trainUntil`. */
  windowsDigest?: string;
}

export async function countTies(duck: Duck): Promise<DatasetCard['ties']> {
  const { rows } = await duck.numbers<'rows'>(`SELECT coalesce(sum(n), 0) AS "rows"
    FROM (SELECT count(*) AS n FROM sequence GROUP BY u, time_ms HAVING count(*) > 1)`);
  return { rows, rule: 'time, then source row' };
}

export async function titleCollisions(duck: Duck): Promise<DatasetCard['titleCollisions']> {
  const shared = 'SELECT title, count(*) AS n FROM items GROUP BY title HAVING count(*) > 1';
  const { titles, items } = await duck.numbers<'titles' | 'items'>(
    `SELECT count(*) AS titles, coalesce(sum(n), 0) AS items FROM (${shared})`,
  );
  const examples = await duck.rows<{ title: string }>(`SELECT title FROM (${shared}) ORDER BY n DESC, title LIMIT 5`);
  return { titles, items, examples: examples.map(({ title }) => title) };
}
