import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readYaml } from '../../cli/config-yaml.ts';
import { OBSERVABILITY } from './prometheus.ts';

interface Rules {
  groups: { rules: { alert?: string; record?: string; expr: string }[] }[];
}
interface Dashboard {
  panels: { title: string; targets?: { expr: string }[] }[];
}

export async function readRules(): Promise<Rules['groups'][number]['rules']> {
  const { value } = readYaml(await readFile(join(OBSERVABILITY, 'rules.yml'), 'utf8'));
  return (value as Rules).groups.flatMap(({ rules }) => rules);
}

/** Every expression of the dashboard, its variables filled in. */
export async function dashboardExpressions(): Promise<string[]> {
  const { panels } = JSON.parse(await readFile(join(OBSERVABILITY, 'dashboard.json'), 'utf8')) as Dashboard;
  const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  return expressions.map((expr) => expr.replaceAll('$run', '.*').replaceAll('$__rate_interval', '1m'));
}

/** Names of metrics in an expression, without those that recording rules make. */
export function metricsIn(expression: string): string[] {
  const names = expression.match(/(?<![\w:])(?:softflow|temporal|process|nodejs)_\w+/g) ?? [];
  return names.map((name) => name.replace(/_bucket$/, ''));
}

/** Names of metrics that a scrape describes, by their type lines. */
export function describedIn(scrape: string): Set<string> {
  return new Set([...scrape.matchAll(/^# TYPE (\S+) /gm)].map((match) => match[1] as string));
}
