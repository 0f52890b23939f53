import type { Client } from '@temporalio/client';
import type { SearchAttributePair } from '@temporalio/common';
import { digestOf } from '../artifacts/canonical-json.ts';
import { ATTRIBUTES, NAMES } from '../workflows/attribute-names.ts';
import type { RunConfig } from '../workflows/run-config.ts';

/** Attributes by which a run is found in the Temporal UI; none where the server does not know them all, or does not say. */
export async function searchAttributes(
  client: Client,
  config: RunConfig,
): Promise<{ typedSearchAttributes?: SearchAttributePair[] }> {
  const { namespace } = client.options;
  const known = await client.connection.operatorService.listSearchAttributes({ namespace }).catch(() => undefined);
  if (![...NAMES].every((name) => known?.customAttributes[name] !== undefined)) return {};
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

/** `movielens-100k`, `planted`, `csv ratings.csv`: the kind, and the last part of its path. */
function describeSource(source: object): string {
  const [kind, value] = Object.entries(source)[0] as [string, string | Record<string, unknown>];
  if (kind === 'registry') return String(value);
  const place = typeof value === 'string' ? value : (value['interactions'] ?? value['folder']);
  return typeof place === 'string' ? `${kind} ${place.split(/[\\/]/).at(-1)}` : kind;
}
