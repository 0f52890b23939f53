import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { metricsJson } from '../../report/run-summary.ts';
import { type RunningUi, startUi } from '../../ui/server.ts';
import type { UiSource } from '../../ui/source.ts';
import { accessibilityFaults, docsPicture, openBrowser, openPage, type Watched } from '../support/browser.ts';
import { fakeSource, LIVE, liveLook, SUMMARIES } from './fixtures.ts';

const { browser, title } = await openBrowser();
const opened: Watched[] = [];
let ui: RunningUi;

async function open(path: string, change: Partial<UiSource> = {}, scheme: 'light' | 'dark' = 'light') {
  ui ??= await startUi(fakeSource(change), { port: 0, pollMs: 20 });
  const watched = await openPage(browser!, scheme);
  opened.push(watched);
  await watched.page.goto(new URL(path, ui.url).href);
  return watched.page;
}

afterEach(async () => {
  const { origin } = new URL(ui.url);
  for (const { page, complaints, requests } of opened.splice(0)) {
    await page.context().close();
    expect(complaints).toEqual([]);
    expect(requests.filter((address) => !address.startsWith(origin))).toEqual([]);
  }
  await ui.close();
  ui = undefined as unknown as RunningUi;
});
afterAll(() => browser?.close());

const PAGES = {
  light: ['/', `/runs/${LIVE}`, '/runs/demo-00000001', '/sweeps', '/compare', '/schedules', '/releases'],
  dark: [`/runs/${LIVE}`, '/compare?first=demo-00000001&second=demo-00000002'],
};

describe.skipIf(!browser)(`softflow ui ${title}`, () => {
  it.each(['light', 'dark'] as const)('has no accessibility fault in %s', async (scheme) => {
    const faults: string[] = [];
    for (const path of PAGES[scheme]) {
      const page = await open(path, {}, scheme);
      faults.push(...(await accessibilityFaults(page)).map((fault) => `${path}: ${fault}`));
    }
    expect(faults).toEqual([]);
  });

  it('looks as its picture in the docs shows it', async () => {
    await docsPicture(await open(`/runs/${LIVE}`), 'ui', 900);
  });

  it('moves while a run does, without a reload', async () => {
    let done = 8;
    const page = await open(`/runs/${LIVE}`, { look: async () => liveLook(done) });
    const bar = page.locator('progress');
    expect(await bar.getAttribute('value')).toBe('8');
    for (done of [40, 96]) await page.locator(`progress[value="${done}"]`).waitFor();
    expect(await page.locator('#said').textContent()).toBe('Running: SFT epoch 2: train');
    done = 128;
    await bar.waitFor({ state: 'detached' });
    expect(await page.evaluate<number>('performance.getEntriesByType("navigation").length')).toBe(1);
  });

  it('lets go while nobody sees it, and is up to date when it is seen again', async () => {
    let done = 8;
    const page = await open(`/runs/${LIVE}`, { look: async () => liveLook(done) });
    const followed = () => opened[0]!.requests.filter((address) => address.endsWith('/events')).length;
    await page.locator('#said').getByText('Running').waitFor();
    const setHidden = (hidden: boolean) =>
      page.evaluate(`Object.defineProperty(document, 'hidden', { value: ${hidden}, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'))`);
    await setHidden(true);
    done = 96;
    expect(followed()).toBe(1);
    await setHidden(false);
    await page.locator('progress[value="96"]').waitFor();
    expect(followed()).toBe(2);
  });

  it('keeps the place of the keyboard while the list changes under it', async () => {
    let done = 8;
    const page = await open('/', {
      look: async (runId) => (runId === LIVE ? liveLook(done) : fakeSource().look(runId)),
    });
    const link = page.locator(`#to-${LIVE}`);
    await link.focus();
    const before = await page.locator('#runs').elementHandle();
    done = 64;
    await page.getByText('50 %').waitFor();
    expect(await before!.evaluate((part) => part.isConnected)).toBe(false);
    expect(await page.evaluate<string>('document.activeElement.id')).toBe(`to-${LIVE}`);
    await page.keyboard.press('Enter');
    await page.locator('#stages').waitFor();
  });

  it('shows the numbers of metrics.json on the page of a finished run and in its report', async () => {
    const summary = SUMMARIES[0]!;
    const { models } = metricsJson(summary) as { models: { soft: { test: { hr: Record<string, number> } } } };
    const page = await open(`/runs/${summary.runId}`);
    const shown = () =>
      page
        .locator('tr[data-model="soft"] td')
        .evaluateAll((cells) => cells.map((cell) => Number(cell.firstChild?.textContent)));
    const expected = summary.ks.map((k) => Number(models.soft.test.hr[k]!.toFixed(4)));
    expect((await shown()).slice(0, summary.ks.length)).toEqual(expected);
    await page.getByRole('link', { name: /^Report/ }).click();
    await page.locator('#lineage').waitFor();
    expect((await shown()).slice(0, summary.ks.length)).toEqual(expected);
  });

  it('compares two runs that are chosen', async () => {
    const page = await open('/');
    await page.getByRole('link', { name: 'Compare' }).click();
    await page.getByLabel('Run B').selectOption('demo-00000002');
    await page.getByRole('button', { name: 'Compare' }).click();
    await page.getByRole('heading', { name: 'Models' }).waitFor();
    expect(await page.getByRole('row', { name: /soft\.curriculumAlpha/ }).textContent()).toBe(
      'soft.curriculumAlpha110',
    );
  });

  it('says when the connection is lost', async () => {
    const page = await open('/');
    await page.getByText('1 run is at work.').waitFor();
    await ui.close();
    await page.getByText('The connection is lost.').waitFor();
    const [watched] = opened;
    // That it is lost is the browser's to say as well.
    watched!.complaints.splice(0);
  });
});
