import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { ensureChromium } from './chromium.ts';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A headless Chromium; undefined, with the reason, where this machine cannot have one. */
export async function openBrowser(): Promise<{ browser?: Browser; title: string }> {
  try {
    const folder = await ensureChromium();
    const browser = await chromium.launch({
      executablePath: join(folder, 'chromium'),
      // Only pages of our own are opened; its sandbox needs rights that root in a container does not have.
      args: ['--no-sandbox', '--disable-gpu', '--font-render-hinting=none'],
      env: { LD_LIBRARY_PATH: join(folder, 'lib'), FONTCONFIG_FILE: join(folder, 'fonts.conf'), HOME: folder },
    });
    return { browser, title: `in Chromium ${browser.version()}` };
  } catch (error) {
    const [reason] = (error instanceof Error ? error.message : String(error)).split('\n');
    return { title: `in Chromium (skipped, no browser: ${reason})` };
  }
}

/** What a page did that it must not do. */
export interface Watched {
  page: Page;
  /** Console errors and warnings, and errors of scripts. */
  complaints: string[];
  /** Every address that was asked for. */
  requests: string[];
}

export async function openPage(browser: Browser, colorScheme: 'light' | 'dark' = 'light'): Promise<Watched> {
  const context = await browser.newContext({ colorScheme, viewport: { width: 1200, height: 900 } });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const complaints: string[] = [];
  const requests: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => requests.push(request.url()));
  return { page, complaints, requests };
}

interface AxeResults {
  passes: unknown[];
  violations: { id: string; nodes: { target: unknown[]; failureSummary?: string }[] }[];
}

/** Violations of WCAG 2.2 A and AA and of axe's best practices, one line each; the page's own policy stays in force. */
export async function accessibilityFaults(page: Page): Promise<string[]> {
  // Through the debugger, as a page with a strict policy takes no script.
  await page.evaluate(AXE);
  const { passes, violations } = await page.evaluate<AxeResults>('axe.run(document)');
  if (passes.length < 10) throw new Error(`axe checked ${passes.length} rules only: the page is not there`);
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`),
  );
}

const MAX_PICTURE_BYTES = 300_000;

/**
 * A picture of `docs/`: there and small. `SOFTFLOW_SCREENSHOTS=<report.html of a run>` takes all of them anew.
 * @throws when it is missing or too large
 */
export async function docsPicture(page: Page, name: string, height: number): Promise<void> {
  const path = fileURLToPath(new URL(`../../docs/${name}.png`, import.meta.url));
  if (process.env['SOFTFLOW_SCREENSHOTS']) {
    await page.setViewportSize({ width: 1200, height });
    await page.screenshot({ path });
  }
  const { size } = statSync(path);
  if (size > MAX_PICTURE_BYTES)
    throw new Error(`docs/${name}.png has ${size} bytes, expected ${MAX_PICTURE_BYTES} at most`);
}
