import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findPackages, OPENLINEAGE, runPython } from '../support/python-servers.ts';
import { startReceiver, tellWholeRun } from './fixtures.ts';

const found = await findPackages(OPENLINEAGE);
const packages = 'folder' in found ? found.folder : '';
const without = 'missing' in found ? `; skipped: ${found.missing}` : '';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-openlineage-'));
});
afterAll(() => rm(folder, { recursive: true }));

/**
 * Builds events from the classes that OpenLineage generates out of its JSON schemas: they refuse a field that is missing or
 * unknown, and write the versions of their schemas themselves. A facet that has no class is one of our own.
 */
const PROGRAM = `
import json, sys
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import RunFacet, dataset_version_dataset, error_message_run, job_type_job
from openlineage.client.serde import Serde

CLASSES = {
    "errorMessage": error_message_run.ErrorMessageRunFacet,
    "jobType": job_type_job.JobTypeJobFacet,
    "version": dataset_version_dataset.DatasetVersionDatasetFacet,
}

def facets(given):
    made = {}
    for name, fields in given.items():
        own = {key: value for key, value in fields.items() if not key.startswith("_")}
        producer = fields["_producer"]
        if name in CLASSES:
            made[name] = CLASSES[name](**own, producer=producer)
        else:
            made[name] = RunFacet(producer=producer).with_additional_properties(**own)
    return made

def dataset(kind, given):
    return kind(**{**given, "facets": facets(given.get("facets", {}))})

for event in json.loads(sys.argv[1]):
    run, job = event["run"], event["job"]
    taken = RunEvent(
        eventType=RunState[event["eventType"]], eventTime=event["eventTime"], producer=event["producer"],
        run=Run(**{**run, "facets": facets(run["facets"])}), job=Job(**{**job, "facets": facets(job["facets"])}),
        inputs=[dataset(InputDataset, one) for one in event["inputs"]],
        outputs=[dataset(OutputDataset, one) for one in event["outputs"]])
    print(Serde.to_json(taken))
`;

test.skipIf(without)(
  `OpenLineage's own classes give back our events as they are${without}`,
  async () => {
    const receiver = await startReceiver(() => ({ status: 201 }));
    await tellWholeRun(folder, { OPENLINEAGE_URL: receiver.url });
    await tellWholeRun(folder, { OPENLINEAGE_URL: receiver.url }, 'failed');
    await tellWholeRun(folder, { OPENLINEAGE_URL: receiver.url }, 'stopped');
    await receiver.close();
    const events = receiver.received.map(({ body }) => body);
    const types = events.map(({ eventType }) => eventType);
    expect(types).toEqual(['START', 'COMPLETE', 'START', 'FAIL', 'START', 'ABORT']);
    const printed = await runPython(packages, ['-c', PROGRAM, JSON.stringify(events)]);
    const taken = printed
      .trim()
      .split('\n')
      .map((line) => withoutEmpty(JSON.parse(line)));
    expect(taken).toEqual(events.map(withoutEmpty));
  },
  600_000,
);

/** The classes add fields that are empty. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([, item]) => !isEmpty(item));
  return Object.fromEntries(kept.map(([key, item]) => [key, withoutEmpty(item)]));
}

const isEmpty = (value: unknown) => typeof value === 'object' && (value === null || Object.keys(value).length === 0);
