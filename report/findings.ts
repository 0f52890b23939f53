import { verdict, windowsNeeded } from './bootstrap.ts';
import { integer, percent, plain, shorten, signed, significant } from './format.ts';
import { type Comparison, type Finding, MODEL_LABELS, type ModelSummary, type RunSummary } from './summary-types.ts';

/** The difference that a person choosing between models cares about. */
const DIFFERENCE_OF_INTEREST = 0.01;
/** From this share of all answers on, one text counts as dominating. */
const DOMINATING_SHARE = 0.2;
/** Below this many different texts a window, the answers count as collapsed. */
const FEW_DISTINCT_SHARE = 0.15;

type Facts = Omit<RunSummary, 'findings' | 'nextCommands'>;

/** What the run says, what it cannot say, and what looks wrong, in plain sentences. */
export function findings(run: Facts): Finding[] {
  return [...results(run), ...scope(run), ...warnings(run)];
}

/** What to run after this one, most useful first. */
export function nextCommands(run: Facts): string[] {
  const planted = 'planted' in run.config.data.source;
  const others = ['npx softflow run recipes/planted.yaml', 'npx softflow run recipes/ml-100k.yaml'];
  if (!tooFewWindows(run)) return [alphaCommand(run), ...(planted ? others.slice(1) : [])];
  return [...(planted ? [alphaCommand(run), ...others.slice(1)] : others)];
}

function results(run: Facts): Finding[] {
  const headline = (['sft', 'popularity'] as const).flatMap((second) => {
    const comparison = find(run, 'soft', second);
    return comparison ? [comparisonText(comparison)] : [];
  });
  const texts = [...headline, ...againstChance(run), ...signsOfLife(run)];
  return texts.map((text) => ({ kind: 'result', text }));
}

function comparisonText({ first, second, kind, k, difference }: Comparison): string {
  const { mean, low, high, wins, losses } = difference;
  const words = { 'within noise': 'within noise', better: 'clearly better', worse: 'clearly worse' };
  return (
    `${MODEL_LABELS[first]} against ${MODEL_LABELS[second]}: ${kind.toUpperCase()}@${k} ${signed(mean)} ` +
    `(95 % interval ${signed(low)} to ${signed(high)}; better on ${wins}, worse on ${losses} windows): ` +
    `${words[verdict(difference)]}.`
  );
}

function againstChance(run: Facts): string[] {
  const chance = run.chance.hr[run.headlineK] ?? 0;
  const above = run.models.filter((model) => (model.intervals.hr[run.headlineK]?.low ?? 0) > chance);
  const rest = run.models.filter((model) => !above.includes(model));
  const sentences: string[] = [];
  if (above.length > 0) sentences.push(`Above chance in HR@${run.headlineK}: ${labels(above)}.`);
  if (rest.length > 0) sentences.push(`Not above chance in HR@${run.headlineK} beyond noise: ${labels(rest)}.`);
  return sentences;
}

function signsOfLife(run: Facts): string[] {
  const sentences: string[] = [];
  const zeroShot = model(run, 'zeroShot');
  const sft = model(run, 'sft');
  const soft = model(run, 'soft');
  const losses = run.stages.sft.epochs.map((epoch) => epoch.trainLoss);
  if (losses.length > 1) sentences.push(`SFT's loss by epoch: ${losses.map((loss) => significant(loss)).join(', ')}.`);
  if (zeroShot && sft)
    sentences.push(
      `Answers that are titles of the catalogue: ${[zeroShot, sft, ...(soft ? [soft] : [])]
        .map(({ label, metrics }) => `${label} ${percent(metrics.existingTitles ?? 0)}`)
        .join(', ')}.`,
    );
  const lambdas = run.curriculum.map((row) => significant(row.lambda));
  if (new Set(lambdas).size > 1)
    sentences.push(
      `The curriculum moved from the model's own answers to the true titles at lambda ${lambdas.join(', ')}.`,
    );
  return sentences;
}

function scope(run: Facts): Finding[] {
  const windows = run.data.windows.test;
  const needed = windowsNeeded(baseRate(run), DIFFERENCE_OF_INTEREST);
  const size = `${integer(windows)} test windows; a difference of ${signed(DIFFERENCE_OF_INTEREST).slice(1)} in HR@${run.headlineK} needs about ${integer(roundTo2Digits(needed))} to be seen.`;
  const text = tooFewWindows(run)
    ? `${size} This run shows that the method runs and whether training takes hold, not which model is a little better.`
    : `${size} This run is large enough to show such a difference.`;
  return [
    { kind: 'scope', text },
    { kind: 'scope', text: 'One seed: the intervals speak of other test windows, not of other training runs.' },
  ];
}

function warnings(run: Facts): Finding[] {
  const texts = run.models.filter(({ id }) => id === 'sft' || id === 'soft').flatMap(collapse);
  const losses = run.stages.sft.epochs.map((epoch) => epoch.trainLoss);
  if (losses.length > 1 && (losses.at(-1) ?? 0) >= (losses[0] ?? 0))
    texts.push('SFT did not learn: its loss did not fall. Check train.learningRate.');
  if (run.curriculum.length > 0 && run.curriculum.every((row) => row.lambda === 1))
    texts.push(
      'Lambda stayed 1, so SOFT saw only its own answers. More epochs or a larger soft.curriculumAlpha change that.',
    );
  return texts.map((text) => ({ kind: 'warning', text }));
}

function collapse({ label, metrics, topTexts }: ModelSummary): string[] {
  const [top] = topTexts;
  const distinct = metrics.distinctTexts ?? 0;
  const sentences: string[] = [];
  if (metrics.windows > 1 && distinct / metrics.windows < FEW_DISTINCT_SHARE)
    sentences.push(`${label} gives few different answers: ${distinct} for ${metrics.windows} windows.`);
  if (top && top.count > 1 && top.count / metrics.windows >= DOMINATING_SHARE)
    sentences.push(
      `${label} answers "${shorten(plain(top.text), 40)}" for ${percent(top.count / metrics.windows)} of the windows.`,
    );
  if ((metrics.invalid ?? 0) > 0)
    sentences.push(`${label} gave an empty answer for ${metrics.invalid} of ${metrics.windows} windows.`);
  return sentences;
}

function tooFewWindows(run: Facts): boolean {
  return run.data.windows.test < windowsNeeded(baseRate(run), DIFFERENCE_OF_INTEREST);
}

/** The hit rate around which differences would be seen: SFT's, at least chance. */
function baseRate(run: Facts): number {
  const k = run.headlineK;
  return Math.max(run.chance.hr[k] ?? 0, model(run, 'sft')?.metrics.hr[k] ?? 0);
}

/** Another pace of the curriculum shares everything up to round one, so it is the cheapest next question. */
function alphaCommand(run: Facts): string {
  const other = run.config.soft.curriculumAlpha === 10 ? 1 : 10;
  return `npx softflow run ${run.recipe ?? '<recipe>.yaml'} -s soft.curriculumAlpha=${other}`;
}

function roundTo2Digits(value: number): number {
  return Number(value.toPrecision(2));
}

const find = (run: Facts, first: string, second: string): Comparison | undefined =>
  run.comparisons.find((entry) => entry.first === first && entry.second === second && entry.kind === 'hr');
const model = (run: Facts, id: string): ModelSummary | undefined => run.models.find((entry) => entry.id === id);
const labels = (models: readonly ModelSummary[]): string => models.map(({ label }) => label).join(', ');
