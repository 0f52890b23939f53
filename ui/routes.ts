import { SoftflowError } from '../errors.ts';
import { compareRuns } from '../report/compare.ts';
import type { RunSummary } from '../report/summary-types.ts';
import { comparePage } from './compare-page.ts';
import { type LivePart, notice, type Page } from './layout.ts';
import { releasesPage, schedulesPage } from './record-pages.ts';
import { runPage, runPart, runsPage, runsPart } from './run-pages.ts';
import type { UiSource } from './source.ts';
import { sweepsPage, sweepsPart } from './sweep-page.ts';

/** What an address gives: a page, a report as it lies in the store, or events. */
export type Answer =
  | { kind: 'page'; status: number; page: Page }
  | { kind: 'report'; html: Uint8Array }
  | { kind: 'events'; look: () => Promise<LivePart> };

/** More are left to `softflow list --all`. */
const SHOWN_RUNS = 50;
const SHOWN_SWEEPS = 10;

/** Finds what an address names; throws nothing for an address that names nothing. */
export async function answer(source: UiSource, url: URL): Promise<Answer> {
  const [place = '', ...rest] = url.pathname.split('/').slice(1).map(decodeURIComponent);
  if (place === 'runs') return answerRun(source, rest);
  if (place === 'sweeps' && rest.join('/') === 'events')
    return { kind: 'events', look: async () => sweepsPart(await source.sweeps(SHOWN_SWEEPS)) };
  if (rest.length > 0) return notFound(url.pathname);
  switch (place) {
    case '':
      return page(await allRuns(source, (looks, total) => runsPage(looks, total)));
    case 'events':
      return { kind: 'events', look: () => allRuns(source, runsPart) };
    case 'sweeps':
      return page(sweepsPage(await source.sweeps(SHOWN_SWEEPS)));
    case 'compare':
      return page(await compare(source, url.searchParams));
    case 'schedules':
      return page(schedulesPage(await source.schedules()));
    case 'releases':
      return page(releasesPage(await source.releases()));
    default:
      return notFound(url.pathname);
  }
}

export const errorPage = (title: string, message: string): Page => ({ title, body: notice(message) });

const page = (found: Page): Answer => ({ kind: 'page', status: 200, page: found });
const notFound = (path: string): Answer => ({
  kind: 'page',
  status: 404,
  page: errorPage('Not found', `There is nothing at ${path}.`),
});

async function allRuns<T>(
  source: UiSource,
  show: (looks: Awaited<ReturnType<UiSource['look']>>[], total: number) => T,
) {
  const ids = await source.list();
  const looks = await Promise.all(ids.slice(0, SHOWN_RUNS).map((runId) => source.look(runId)));
  return show(looks, ids.length);
}

async function answerRun(source: UiSource, [runId = '', what, ...more]: string[]): Promise<Answer> {
  // Only what is listed is asked for: an address is not to reach into the store by a name of its own.
  if (more.length > 0 || !(await source.list()).includes(runId)) return notFound(`/runs/${runId}`);
  if (what === 'events') return { kind: 'events', look: async () => runPart(await source.look(runId)) };
  if (what === 'report') return { kind: 'report', html: await source.file(runId, 'report.html') };
  if (what !== undefined) return notFound(`/runs/${runId}/${what}`);
  return page(runPage(await source.look(runId), await summaryOf(source, runId)));
}

/** Undefined while the run has no results. */
async function summaryOf(source: UiSource, runId: string): Promise<RunSummary | undefined> {
  try {
    return JSON.parse(Buffer.from(await source.file(runId, 'summary.json')).toString()) as RunSummary;
  } catch (error) {
    if (error instanceof SoftflowError && error.code === 'RUN_UNFINISHED') return undefined;
    throw error;
  }
}

async function compare(source: UiSource, asked: URLSearchParams): Promise<Page> {
  const runIds = await completedRuns(source);
  const [second = '', first = ''] = runIds;
  const choice = { runIds, first: asked.get('first') ?? first, second: asked.get('second') ?? second };
  if (!asked.has('first')) return comparePage(choice);
  const unknown = [choice.first, choice.second].find((runId) => !runIds.includes(runId));
  if (unknown !== undefined) return comparePage({ ...choice, refused: `There is no completed run "${unknown}".` });
  const [a, b] = await Promise.all([summaryOf(source, choice.first), summaryOf(source, choice.second)]);
  if (!a || !b) return comparePage({ ...choice, refused: 'One of them has no results yet.' });
  try {
    return comparePage({ ...choice, comparison: compareRuns(a, b) });
  } catch (error) {
    if (error instanceof SoftflowError) return comparePage({ ...choice, refused: error.message });
    throw error;
  }
}

async function completedRuns(source: UiSource): Promise<string[]> {
  const looks = await allRuns(source, (found) => found);
  return looks.filter(({ status }) => status.phase === 'completed').map(({ status }) => status.runId);
}
