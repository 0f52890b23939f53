import { LineChart } from 'echarts/charts';
import { GridComponent, LegendComponent } from 'echarts/components';
import { type EChartsCoreOption, init, use } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import { escapeHtml } from './escape.ts';
import { percent, rate, significant } from './format.ts';
import { type EpochInput, type MetricKind, MODEL_LABELS, type ModelId, type RunSummary } from './summary-types.ts';

use([LineChart, GridComponent, LegendComponent, SVGRenderer]);

/** A chart as inline SVG; its colours are the page's CSS variables, so it follows light and dark. */
export interface Chart {
  title: string;
  caption: string;
  svg: string;
}

const WIDTH = 420;
const HEIGHT = 260;
const COLORS: Record<ModelId | 'chance', string> = {
  zeroShot: 'var(--zero-shot)',
  popularity: 'var(--popularity)',
  sft: 'var(--sft)',
  soft: 'var(--soft)',
  chance: 'var(--muted)',
};

type Point = number | [number, number] | null;
interface Line {
  name: string;
  color: string;
  data: Point[];
  dashed?: boolean;
  dots?: boolean;
  yAxisIndex?: number;
}

/** The charts of a run; those without data are left out, and lines of a single point, which the tables show as well. */
export function runCharts(run: RunSummary): Chart[] {
  return [
    lossChart(run),
    curriculumChart(run),
    validationChart(run, 'metric'),
    validationChart(run, 'existing'),
    metricChart(run, 'hr'),
    metricChart(run, 'ndcg'),
  ].filter((chart) => chart !== undefined);
}

function lossChart(run: RunSummary): Chart | undefined {
  const lines = (['sft', 'soft'] as const).map((name): Line => {
    const losses = run.stages[name].epochs.flatMap((epoch) => epoch.stepLosses);
    return { name: MODEL_LABELS[name], color: COLORS[name], data: losses.map((loss, step) => [step + 1, loss]) };
  });
  const steps = Math.max(...lines.map((line) => line.data.length));
  if (steps === 0) return undefined;
  const xAxis = { type: 'value', name: 'optimiser step', min: 1, max: Math.max(2, steps), minInterval: 1 };
  return chart('loss', 'Training loss by step', ends(lines), { xAxis, yAxis: { scale: true } }, lines);
}

function curriculumChart(run: RunSummary): Chart | undefined {
  if (run.curriculum.length === 0) return undefined;
  const distances = [run.curriculum[0]?.distance ?? 0, ...run.curriculum.map((row) => row.distanceAfter)];
  const lines: Line[] = [
    { name: 'lambda', color: 'var(--soft)', data: [null, ...run.curriculum.map((row) => row.lambda)], dots: true },
    { name: 'distance', color: 'var(--accent)', data: distances, dots: true, yAxisIndex: 1 },
  ];
  const categories = ['start', ...run.curriculum.map((row) => String(row.epoch))];
  const description =
    `Lambda by epoch ${run.curriculum.map((row) => significant(row.lambda)).join(', ')}; ` +
    `distance from ${distances.map((distance) => significant(distance)).join(' to ')}.`;
  const axes = {
    xAxis: { type: 'category', name: 'epoch', data: categories },
    yAxis: [
      { min: 0, max: 1, name: 'lambda' },
      { min: 0, name: 'distance', splitLine: { show: false } },
    ],
  };
  return chart('curriculum', 'Lambda and distance by epoch', description, axes, lines);
}

function validationChart(run: RunSummary, what: 'metric' | 'existing'): Chart | undefined {
  const [kind = 'hr', k = '10'] = run.config.evaluation.metric.split('@');
  const value = ({ validation }: EpochInput) =>
    (what === 'existing' ? validation?.existingTitles : validation?.[kind as MetricKind]?.[k]) ?? null;
  const lines = (['sft', 'soft'] as const).map(
    (name): Line => ({
      name: MODEL_LABELS[name],
      color: COLORS[name],
      data: run.stages[name].epochs.map(value),
      dots: true,
    }),
  );
  const epochs = Math.max(...lines.map((line) => line.data.length));
  if (epochs < 2 || lines.every((line) => line.data.every((point) => point === null))) return undefined;
  const categories = Array.from({ length: epochs }, (_, index) => String(index + 1));
  const label = what === 'existing' ? percent : rate;
  const axes = {
    xAxis: { type: 'category', name: 'epoch', data: categories },
    yAxis: { min: 0, axisLabel: { formatter: label } },
  };
  const title =
    what === 'existing' ? 'Validation: answers that are titles' : `Validation ${kind.toUpperCase()}@${k} by epoch`;
  return chart(`validation-${what}`, title, ends(lines, label), axes, lines);
}

function metricChart(run: RunSummary, kind: MetricKind): Chart | undefined {
  if (run.ks.length < 2) return undefined;
  const values = (of: Record<string, number>) => run.ks.map((k) => of[k] ?? null);
  const lines: Line[] = [
    ...run.models.map(
      (model): Line => ({
        name: shortLabel(model.id),
        color: COLORS[model.id],
        data: values(model.metrics[kind]),
        dots: true,
      }),
    ),
    { name: 'chance', color: COLORS.chance, data: values(run.chance[kind]), dashed: true },
  ];
  const axes = {
    xAxis: { type: 'category', name: 'K', data: run.ks.map(String) },
    yAxis: { min: 0, axisLabel: { formatter: rate } },
  };
  const caption = 'Titles counted as found, K, along the axis.';
  return chart(`test-${kind}`, `Test ${kind.toUpperCase()}@K`, caption, axes, lines, ends(lines, rate));
}

/** "SFT from 3.1 to 1.4; SOFT ...": the first and last value of each line. */
function ends(lines: readonly Line[], label: (value: number) => string = significant): string {
  const numbers = (line: Line) =>
    line.data.map((point) => (Array.isArray(point) ? point[1] : point)).filter((value) => value !== null);
  const sentences = lines.flatMap((line) => {
    const values = numbers(line);
    return values.length === 0 ? [] : [`${line.name} from ${label(values[0] ?? 0)} to ${label(values.at(-1) ?? 0)}`];
  });
  return `${sentences.join('; ')}.`;
}

interface Axes {
  xAxis: object;
  yAxis: object | object[];
}

/** `description` says what is shown to those who don't see it. */
function chart(
  id: string,
  title: string,
  caption: string,
  axes: Axes,
  lines: readonly Line[],
  description = caption,
): Chart {
  const yAxes = Array.isArray(axes.yAxis) ? axes.yAxis : [axes.yAxis];
  const option: EChartsCoreOption = {
    animation: false,
    textStyle: { fontFamily: 'inherit' },
    grid: {
      left: 8,
      right: yAxes.length > 1 ? 8 : 16,
      top: yAxes.length > 1 ? 34 : 14,
      bottom: 52,
      outerBoundsMode: 'same',
      outerBoundsContain: 'axisLabel',
    },
    legend: {
      bottom: 0,
      itemWidth: 18,
      itemGap: 14,
      inactiveColor: 'var(--muted)',
      textStyle: { color: 'var(--ink)', fontSize: 13 },
    },
    xAxis: { ...axis(axes.xAxis), nameLocation: 'middle', nameGap: 26, splitLine: { show: false } },
    yAxis: yAxes.map((own) => ({ type: 'value', ...axis(own) })),
    series: lines.map(series),
  };
  return { title, caption, svg: renderSvg(id, option, `${title}. ${description}`) };
}

function axis(own: object): object {
  const given = own as { axisLabel?: object };
  const line = { lineStyle: { color: 'var(--line)' } };
  return {
    axisLine: line,
    axisTick: { show: false },
    splitLine: line,
    nameTextStyle: { color: 'var(--muted)', fontSize: 13 },
    ...own,
    axisLabel: { color: 'var(--muted)', fontSize: 13, hideOverlap: true, ...given.axisLabel },
  };
}

function series({ name, color, data, dashed, dots, yAxisIndex }: Line): object {
  return {
    type: 'line',
    name,
    data,
    yAxisIndex: yAxisIndex ?? 0,
    showSymbol: dots ?? false,
    symbol: dashed ? 'none' : 'circle',
    symbolSize: 6,
    clip: false,
    itemStyle: { color },
    lineStyle: { color, width: 2, type: dashed ? 'dashed' : 'solid' },
  };
}

/**
 * Ids and classes that ECharts numbers over the life of the process are renamed or dropped, so that the same data
 * give the same bytes and several charts share a page; its style sheet only styles hovering.
 */
function renderSvg(id: string, option: EChartsCoreOption, label: string): string {
  const instance = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT });
  try {
    instance.setOption(option);
    return instance
      .renderToSVGString()
      .replace(/<style\b[\s\S]*?<\/style>/g, '')
      .replace(/ (?:class="zr[^"]*"|ecmeta_[a-z_]+="[^"]*"|pointer-events="[^"]*"|xmlns:xlink="[^"]*")/g, '')
      .replace(/zr\d+-/g, `${id}-`)
      .replace(/font-family:[^;"]*;?/g, '')
      .replace(/^<svg width="\d+" height="\d+"/, `<svg role="img" aria-label="${escapeHtml(label)}"`);
  } finally {
    instance.dispose();
  }
}

const shortLabel = (id: ModelId): string => (id === 'zeroShot' ? 'zero-shot' : MODEL_LABELS[id]);
