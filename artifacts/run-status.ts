import type { Store } from './store.ts';

/** Kind of the record of a run that says where it stands. */
const STATUS = 'status';
/** The newest counts; those before it are there in case that it is damaged. */
const KEPT_RECORDS = 3;

/** What putting two statuses of a run together looks at. */
interface Told {
  steps: readonly { id: string; stage: string; state: string }[];
  sft: readonly { epoch: number }[];
  curriculum: readonly { epoch: number }[];
}

/**
 * A status of the last epochs with what an earlier one says of those before them. A run of many epochs tells of the last
 * ones only; a status that has all of them stays as it is.
 */
export function joined<Status extends Told>(before: Status | undefined, told: Status): Status {
  if (!before) return told;
  return {
    ...told,
    steps: joinedSteps(before.steps, told.steps),
    sft: joinedRows(before.sft, told.sft),
    curriculum: joinedRows(before.curriculum, told.curriculum),
  };
}

/** Stage by stage; what is told no more is older than what is. */
function joinedSteps<Step extends Told['steps'][number]>(before: readonly Step[], told: readonly Step[]): Step[] {
  const ids = new Set(told.map(({ id }) => id));
  const past = before.filter(({ id, state }) => !ids.has(id) && state !== 'pending');
  const stages = [...new Set([...told, ...past].map(({ stage }) => stage))];
  return stages.flatMap((stage) => [...past, ...told].filter((step) => step.stage === stage));
}

function joinedRows<Row extends { epoch: number }>(before: readonly Row[], told: readonly Row[]): Row[] {
  const first = told[0]?.epoch ?? Number.POSITIVE_INFINITY;
  return [...before.filter(({ epoch }) => epoch < first), ...told];
}

/** Where a run stood when it was last recorded. */
export async function readRunStatus(store: Store, runId: string): Promise<unknown> {
  return (await store.readRunRecord(runId, STATUS))?.value;
}

/**
 * Records where a run stands.
 *
 * @param anew whether it has just begun, so that what an earlier execution of it has told counts no more
 * @returns all that the run has told so far
 */
export async function recordStatus(store: Store, runId: string, told: unknown, anew: boolean): Promise<unknown> {
  const before = anew ? undefined : await readRunStatus(store, runId);
  const status = joined(before as Told | undefined, told as Told);
  await store.putRunRecord(runId, STATUS, status, KEPT_RECORDS);
  return status;
}
