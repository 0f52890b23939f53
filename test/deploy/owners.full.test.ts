import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { runCommand } from '../../setup/command.ts';
import { ensurePython } from '../support/python.ts';
import { DEPLOY, type Manifest, manifests } from './deploy-files.ts';

const KEDA = 'github.com/kedacore/keda/v2@v2.17.2';
const DASHBOARD = join(DEPLOY, 'observability', 'dashboard.json');

const python = await ensurePython(fileURLToPath(new URL('./requirements.txt', import.meta.url))).catch(
  (error: Error) => error,
);
const noPython = python instanceof Error ? `; skipped: ${python.message}` : '';

/** Runs a program with `input` as JSON; its output as JSON. */
async function ask(program: string, input: unknown): Promise<unknown> {
  const { status, stdout, stderr } = await runCommand(python as string, ['-c', program, JSON.stringify(input)]);
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

/** Grafana's models drop what they do not know; the dashboard as they write it again. */
const READ_DASHBOARD = `
import json, sys
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
register_default_plugins()
print(JSONEncoder().encode(Dashboard.from_json(json.loads(sys.argv[1]))))`;

/** Paths of the first value that are missing or other in the second. */
function differences(value: unknown, other: unknown, path = ''): string[] {
  if (value === null || typeof value !== 'object' || other === undefined) return value === other ? [] : [path];
  const fields = other as Record<string, unknown>;
  return Object.entries(value).flatMap(([key, field]) => differences(field, fields[key], `${path}/${key}`));
}

test.skipIf(noPython)(`Grafana's own models read the dashboard and keep all of it${noPython}`, async () => {
  const dashboard = JSON.parse(readFileSync(DASHBOARD, 'utf8'));
  const read = (await ask(READ_DASHBOARD, dashboard)) as typeof dashboard;
  // What the editor shows of a variable's query; of no effect.
  const known = differences(dashboard, read).filter((path) => !/^\/templating\/list\/\d+\/definition$/.test(path));
  expect(known).toEqual([]);
  expect(read.panels.length).toBeGreaterThan(20);
  const wrong = { ...dashboard, panels: [{ ...dashboard.panels[1], fieldConfg: {} }] };
  expect(differences(wrong, await ask(READ_DASHBOARD, wrong))).toContain('/panels/0/fieldConfg');
});

const VALIDATE = `
import json, sys
from jsonschema import Draft202012Validator
schema, values = json.loads(sys.argv[1])
print(json.dumps([[error.message for error in Draft202012Validator(schema).iter_errors(value)] for value in values]))`;

/** A schema of Kubernetes, in which a field that is not named counts as wrong, as it would be dropped. */
function strict(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strict);
  if (schema === null || typeof schema !== 'object') return schema;
  const fields = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, strict(value)]));
  return 'properties' in fields && !('x-kubernetes-preserve-unknown-fields' in fields)
    ? { additionalProperties: false, ...fields }
    : fields;
}

async function kedaFolder(): Promise<string | Error> {
  const { status, stdout } = await runCommand('go', ['mod', 'download', '-json', KEDA]).catch(() => ({
    status: 1,
    stdout: '',
  }));
  return status === 0 ? (JSON.parse(stdout) as { Dir: string }).Dir : new Error(`${KEDA} cannot be had`);
}
const keda = await kedaFolder();
const noKeda = noPython || (keda instanceof Error ? `; skipped: ${keda.message}` : '');

describe.skipIf(noKeda)(`autoscaling.yaml as KEDA reads it${noKeda}`, () => {
  const read = (path: string) => readFileSync(join(keda as string, path), 'utf8');
  const objects = manifests()
    .filter(({ kind }) => kind === 'ScaledObject')
    .map(({ file: _, ...object }) => object);

  test('its resources have the fields of KEDA, and no others', async () => {
    const { spec } = parse(read('config/crd/bases/keda.sh_scaledobjects.yaml')) as Manifest;
    const { metadata: _, ...properties } = spec.versions[0].schema.openAPIV3Schema.properties;
    const schema = strict({ type: 'object', properties: { ...properties, metadata: { type: 'object' } } });
    const [first] = objects;
    const wrong = { ...first, spec: { ...first?.spec, minReplicas: 1 } };
    const verdicts = (await ask(VALIDATE, [schema, [...objects, wrong]])) as string[][];
    expect(verdicts.slice(0, -1)).toEqual(objects.map(() => []));
    expect(verdicts.at(-1)?.[0]).toContain('minReplicas');
    expect(objects.length).toBeGreaterThan(1);
  });

  test('its triggers say to the scaler for Temporal what that asks for', () => {
    const scaler = read('pkg/scalers/temporal.go');
    const fields = [...scaler.matchAll(/keda:"name=(\w+),\s*order=triggerMetadata[^"]*"/g)];
    const known = fields.map(([, name]) => name);
    const required = fields.filter(([tag]) => !/optional|default/.test(tag)).map(([, name]) => name);
    expect(required).toContain('endpoint');
    for (const { spec } of objects)
      for (const { type, metadata } of spec.triggers) {
        expect(type).toBe('temporal');
        expect(Object.keys(metadata).filter((name) => !known.includes(name))).toEqual([]);
        expect(required.filter((name) => !((name as string) in metadata))).toEqual([]);
      }
  });
});
