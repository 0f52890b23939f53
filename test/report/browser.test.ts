import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { renderReportHtml } from '../../report/html.ts';
import { buildRunSummary } from '../../report/run-summary.ts';
import { accessibilityFaults, openBrowser, openPage } from '../support/browser.ts';
import { smallRun } from './fixtures.ts';

const { browser, title } = await openBrowser();
const folder = mkdtempSync(join(tmpdir(), 'softflow-report-'));
const file = join(folder, 'report.html');
const summary = buildRunSummary(smallRun());
writeFileSync(file, renderReportHtml(summary));
const url = pathToFileURL(file).href;

afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

describe.skipIf(!browser)(`the report ${title}`, () => {
  it.each(['light', 'dark'] as const)('has no accessibility fault in %s', async (scheme) => {
    const { page, complaints, requests } = await openPage(browser!, scheme);
    await page.goto(url);
    for (const details of await page.locator('summary').all()) await details.click();
    expect(await accessibilityFaults(page)).toEqual([]);
    expect(complaints).toEqual([]);
    expect(requests).toEqual([url]);
    await page.screenshot({ path: `/tmp/h-chromium/report-${scheme}.png`, fullPage: true });
    await page.context().close();
  });
});
