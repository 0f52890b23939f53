import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { renderReportHtml } from '../../report/html.ts';
import { buildRunSummary, metricsJson } from '../../report/run-summary.ts';
import { accessibilityFaults, docsPicture, openBrowser, openPage, type Watched } from '../support/browser.ts';
import { HOSTILE, smallRun } from './fixtures.ts';

const { browser, title } = await openBrowser();
const folder = mkdtempSync(join(tmpdir(), 'softflow-report-'));
const summary = buildRunSummary(smallRun());
const metrics = metricsJson(summary) as {
  models: Record<string, { test: Record<'hr' | 'ndcg', Record<string, number>> }>;
};
const file = join(folder, 'report.html');
writeFileSync(file, renderReportHtml(summary));
const url = pathToFileURL(file).href;

const opened: Watched[] = [];
async function openReport(scheme: 'light' | 'dark' = 'light'): Promise<Page> {
  const watched = await openPage(browser!, scheme);
  opened.push(watched);
  await watched.page.goto(url);
  return watched.page;
}

const background = (page: Page) => page.evaluate<string>('getComputedStyle(document.body).backgroundColor');

afterEach(async () => {
  for (const { page, complaints, requests } of opened.splice(0)) {
    await page.context().close();
    expect(complaints).toEqual([]);
    expect(requests).toEqual([url]);
  }
});
afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

describe.skipIf(!browser)(`the report ${title}`, () => {
  it('shows the numbers of metrics.json', async () => {
    const page = await openReport();
    for (const [model, { test }] of Object.entries(metrics.models).filter(([id]) => id !== 'chance')) {
      const cells = page.locator(`tr[data-model="${model}"] td`);
      const shown = await cells.evaluateAll((found) => found.map((cell) => Number(cell.firstChild?.textContent)));
      const expected = (['hr', 'ndcg'] as const).flatMap((kind) => summary.ks.map((k) => test[kind][k]!));
      expect(shown).toEqual(expected.map((value) => Number(value.toFixed(4))));
    }
    const hr = (model: string) => metrics.models[model]!.test.hr[10]!;
    const headline = page.locator('.card', { hasText: 'SOFT against SFT' }).locator('.value');
    expect(Number(await headline.textContent())).toBeCloseTo(hr('soft') - hr('sft'), 3);
  });

  it.each(['light', 'dark'] as const)('has no accessibility fault in %s, with everything unfolded', async (scheme) => {
    const page = await openReport(scheme);
    const [red = 0] = (await background(page)).match(/\d+/g)!.map(Number);
    expect(red < 128 ? 'dark' : 'light').toBe(scheme);
    for (const details of await page.locator('summary').all()) await details.click();
    expect(await accessibilityFaults(page)).toEqual([]);
  });

  it('shows a hostile title as the text that it is', async () => {
    const page = await openReport();
    expect(await page.locator('script').count()).toBe(0);
    const shown = await page.locator('.truth strong').nth(1).textContent();
    expect(HOSTILE).toMatch(/^<script>/);
    expect(shown).toBe('<script>alert("x")</script> & \ufffd[31mred\ufffd');
  });

  it('is walked through by keyboard: the first stop leads past the head, each section can be jumped to', async () => {
    const page = await openReport();
    await page.keyboard.press('Tab');
    expect(await page.locator(':focus').textContent()).toBe('Skip to what it says');
    await page.keyboard.press('Enter');
    expect(page.url()).toBe(`${url}#says`);
    for (const link of await page.locator('nav a').all())
      expect(await page.locator((await link.getAttribute('href')) as string).count()).toBe(1);
  });

  it('fits a narrow screen without scrolling sideways', async () => {
    const page = await openReport();
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(360);
  });

  it('looks as its picture in the docs shows it, which is of a real run', async () => {
    const { page } = await openPage(browser!);
    await page.goto(
      process.env['SOFTFLOW_SCREENSHOTS'] ? pathToFileURL(process.env['SOFTFLOW_SCREENSHOTS']).href : url,
    );
    await docsPicture(page, 'report', 1500);
    await page.context().close();
  });

  it('prints on white, with what is folded', async () => {
    const page = await openReport('dark');
    await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
    expect(await background(page)).toBe('rgb(255, 255, 255)');
    expect(await page.locator('#config pre').isVisible()).toBe(true);
    expect(await page.locator('nav').isVisible()).toBe(false);
    const pages = (await page.pdf({ format: 'A4' })).toString('latin1').match(/\/Type \/Page\b/g);
    expect(pages?.length).toBeGreaterThan(2);
  });
});
