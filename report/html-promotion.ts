import { escapeHtml } from './escape.ts';
import { rate, signed } from './format.ts';
import { tableHtml } from './html-parts.ts';
import type { PromotionSummary } from './summary-types.ts';

/** Whether the run became current, why, and the figures that it was judged by. */
export function promotionHtml({ decision, why, release, champion, figures }: PromotionSummary): string {
  const sentence = `<p><strong>${escapeHtml(decision)}</strong>: ${escapeHtml(why)}</p>`;
  const against =
    champion === null ? 'popularity, as nothing was promoted yet' : `the champion ${champion.slice(0, 12)}`;
  const stood = `<p class="muted">Release ${escapeHtml(release.slice(0, 12))} against ${escapeHtml(against)}.</p>`;
  const { metric, challenger, champion: champions, gain, low, high, windows, confidence, minGain } = figures;
  if (typeof gain !== 'number') return sentence + stood;
  const columns = ['challenger', 'champion', 'gain', 'interval', 'windows', 'rule'].map((name) => ({
    name,
    numeric: true,
  }));
  const cells = [
    `<strong>${escapeHtml(String(metric).toUpperCase())}</strong>`,
    rate(Number(challenger)),
    rate(Number(champions)),
    signed(gain),
    `${signed(Number(low))} to ${signed(Number(high))}`,
    escapeHtml(String(windows)),
    escapeHtml(`${Math.round(Number(confidence) * 100)} % interval above ${minGain}`),
  ];
  return `${sentence}${tableHtml('Promotion', [{ name: 'metric' }, ...columns], [cells])}${stood}`;
}
