import type { Client } from '@temporalio/client';
import type { SearchAttributePair } from '@temporalio/common';
import { digestOf } from '../artifacts/canonical-json.ts';
import { ATTRIBUTES } from '../workflows/attribute-names.ts';
import type { RunConfig } from '../workflows/run-config.ts';

/** Attributes by which a run is found in the Temporal UI; none where the server does not know them all, or does not say. */
export async function searchAttributes(
  client: Client,
  config: RunConfig,
): Promise<{ typedSearchAttributes?: SearchAttributePair[] }> {
  if ((await missingAttributes(client)).length > 0) return {};
  const { name, tags: _, ...settings } = config;
  return {
    typedSearchAttributes: [
      { key: ATTRIBUTES.name, value: name },
      { key: ATTRIBUTES.dataset, value: describeSource(config.data.source) },
      { key: ATTRIBUTES.model, value: describeSource(config.model.source) },
      { key: ATTRIBUTES.configHash, value: digestOf(settings).slice(0, 16) },
      { key: ATTRIBUTES.stage, value: 'prepare' },
    ],
  };
}

/** Those that the server does not know, or does not say that it knows, with the types that it is to know them by. */
export async function missingAttributes(client: Client): Promise<{ name: string; type: string }[]> {
  const { namespace } = client.options;
  const known = await client.connection.operatorService.listSearchAttributes({ namespace }).catch(() => undefined);
  return Object.values(ATTRIBUTES)
    .filter(({ name }) => known?.customAttributes[name] === undefined)
    .map(({ name, type }) => ({ name, type: TYPE_NAMES[type] }));
}

/** As the Temporal CLI writes them. */
const TYPE_NAMES = { KEYWORD: 'Keyword', DOUBLE: 'Double' } as const;

/** `movielens-100k`, `planted`, `csv ratings.csv`: the kind, and the last part of its path. */
function describeSource(source: object): string {
  const [kind, value] = Object.entries(source)[0] as [string, string | Record<string, unknown>];
  if (kind === 'registry') return String(value);
  const place = typeof value === 'string' ? value : (value['interactions'] ?? value['folder']);
  return typeof place === 'string' ? `${kind} ${place.split(/[\\/]/).at(-1)}` : kind;
}
