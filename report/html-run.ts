import { escapeHtml } from './escape.ts';
import { bytes, duration, integer, percent, rate, significant, utilisation } from './format.ts';
import { dot, json, scroll, tableHtml } from './html-parts.ts';
import { MODEL_LABELS, type RunSummary } from './summary-types.ts';

/** Loss, lambda, distance and validation of every epoch: what the charts draw, as figures. */
export function epochsHtml(run: RunSummary): string {
  const [kind = 'hr', k = '10'] = run.config.evaluation.metric.split('@');
  const number = (value: number | null | undefined) =>
    value === null || value === undefined ? '' : significant(value);
  const rows = (['sft', 'soft'] as const).flatMap((stage) =>
    run.stages[stage].epochs.map(({ epoch, trainLoss, validation }) => {
      const round = stage === 'soft' ? run.curriculum.find((row) => row.epoch === epoch) : undefined;
      const metric = validation?.[kind as 'hr' | 'ndcg']?.[k];
      const chosen = run.stages[stage].chosenEpoch === epoch ? ' <span class="tag">chosen</span>' : '';
      return [
        `${dot(stage)}${MODEL_LABELS[stage]} epoch ${epoch}${chosen}`,
        number(trainLoss),
        number(round?.lambda),
        number(round?.distance),
        number(round?.distanceAfter),
        metric === undefined ? '' : rate(metric),
        validation?.existingTitles === undefined ? '' : percent(validation.existingTitles),
      ];
    }),
  );
  if (rows.length === 0) return '';
  const names = [
    'loss',
    'lambda',
    'distance before',
    'distance after',
    `validation ${kind.toUpperCase()}@${k}`,
    'answers that are titles',
  ];
  const columns = [{ name: 'epoch' }, ...names.map((name) => ({ name, numeric: true }))];
  return `<h3 class="below">Every epoch in figures</h3>${tableHtml('Every epoch', columns, rows)}`;
}

export function dataHtml(run: RunSummary): string {
  const rows = Object.entries(run.data.counts).map(([name, count]) => [escapeHtml(words(name)), integer(count)]);
  const card = run.data.card ? `<details><summary>Dataset card</summary>${json(run.data.card)}</details>` : '';
  const hash = `<p>Split hash, the same where windows and items are: <code class="digest">${escapeHtml(run.data.splitHash)}</code></p>`;
  return `<div class="narrow">${tableHtml('Row counts', [{ name: 'count' }, { name: 'rows', numeric: true }], rows)}</div>${hash}${card}`;
}

/** belowCore -> below core */
const words = (name: string): string => name.replace(/([a-z])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`);

/** Time, rate, tokens/s and mfu of every step, and who did it. */
export function timingsHtml(run: RunSummary): string {
  const rows = run.telemetry.steps.map((step) => [
    escapeHtml(step.label),
    step.reused ? '' : duration(step.seconds),
    step.rate === undefined ? '' : escapeHtml(`${significant(step.rate)} ${step.unit ?? 'units'}/s`),
    step.tokensPerSecond === undefined ? '' : integer(step.tokensPerSecond),
    step.mfu === undefined ? '' : utilisation(step.mfu),
    step.resumes > 0 ? String(step.resumes) : '',
    step.peakRssBytes === undefined ? '' : bytes(step.peakRssBytes),
    step.reused ? 'an earlier run' : 'this run',
  ]);
  const names = ['time', 'rate', 'tokens/s', 'mfu', 'resumes', 'peak memory', 'done by'];
  return tableHtml('Timings', [{ name: 'step' }, ...names.map((name) => ({ name, numeric: true }))], rows);
}

export const configHtml = (run: RunSummary): string =>
  `<details><summary>Resolved config</summary>${json(run.config)}</details>`;

/** Every artifact with its digest, and the step that made it. */
export function lineageHtml(run: RunSummary): string {
  const rows = run.lineage.flatMap(({ label, key, reused, artifacts }) => {
    const step = `<th scope="rowgroup" rowspan="${artifacts.length}">${escapeHtml(label)}${reused ? ' <span class="tag">reused</span>' : ''}<br><small title="step key ${escapeHtml(key)}">key ${escapeHtml(key.slice(0, 12))}</small></th>`;
    return artifacts.map(
      ({ name, sha256, bytes: size, rows: count, schema }, index) =>
        `<tr>${index === 0 ? step : ''}<td>${escapeHtml(name)}</td><td>${escapeHtml(schema ?? '')}</td><td class="num">${count === undefined ? '' : integer(count)}</td><td class="num">${bytes(size)}</td><td class="digest"><code>${escapeHtml(sha256)}</code></td></tr>`,
    );
  });
  const head =
    '<th scope="col">step</th><th scope="col">artifact</th><th scope="col">schema</th><th scope="col" class="num">rows</th><th scope="col" class="num">size</th><th scope="col">SHA-256</th>';
  const adapters = `<p>Adapters: SFT <code class="digest">${escapeHtml(run.digests.sftAdapter)}</code>, SOFT <code class="digest">${escapeHtml(run.digests.softAdapter)}</code></p>`;
  const fingerprint = `<details><summary>Fingerprint: what these bytes depend on</summary>${json(run.fingerprint)}</details>`;
  return `${adapters}${scroll('Lineage', `<table><thead><tr>${head}</tr></thead><tbody>${rows.join('')}</tbody></table>`)}${fingerprint}`;
}

export function definitionsHtml(run: RunSummary): string {
  return (
    `<p>HR@K: share of test windows whose true next title is among the first K of ${integer(run.data.titles)}. NDCG@K: the same, each hit worth 1 / log2(rank + 1). ` +
    'Titles at the same distance as the true one count against the model. Chance: a ranking drawn at random. Intervals: 95 % percentile bootstrap over test windows, paired where two models are compared; a model without a hit has the exact binomial bound. ' +
    '"Within noise": the interval of the difference holds 0, or the two differ on fewer than 6 windows. ' +
    'mfu: floating-point operations that a training step cannot do without, a second, as a share of the rate that this machine reaches in matrix products of the same shapes; padding and recomputation count nothing.</p>'
  );
}
