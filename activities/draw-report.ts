import type { RunSummary } from '../report/summary-types.ts';

/** A run's report as a page. What draws it is loaded on first use: most workers draw none, and it is six hundred modules. */
export async function drawReport(summary: RunSummary): Promise<string> {
  const { renderReportHtml } = await import('../report/html.ts');
  return renderReportHtml(summary);
}
