export interface Slope {
  /** Change of y for one of x. */
  slope: number;
  /** Its standard error, between means of ten parts of the points: neighbours in time are not independent. */
  error: number;
}

const PARTS = 10;

/** The straight line through points that are in the order of x, by least squares over the means of ten parts. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): Slope {
  const parts = Array.from({ length: PARTS }, (_, i) =>
    points.slice(Math.floor((i * points.length) / PARTS), Math.floor(((i + 1) * points.length) / PARTS)),
  ).filter((part) => part.length > 0);
  if (parts.length < 3) return { slope: Number.NaN, error: Number.NaN };
  const means = parts.map((part) => [mean(part.map(([x]) => x)), mean(part.map(([, y]) => y))] as const);
  const [x0, y0] = [mean(means.map(([x]) => x)), mean(means.map(([, y]) => y))];
  const spread = sum(means.map(([x]) => (x - x0) ** 2));
  const slope = sum(means.map(([x, y]) => (x - x0) * (y - y0))) / spread;
  const rest = sum(means.map(([x, y]) => (y - y0 - slope * (x - x0)) ** 2));
  return { slope, error: Math.sqrt(rest / (means.length - 2) / spread) };
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]) => sum(values) / values.length;
