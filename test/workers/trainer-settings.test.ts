import { expect, test } from 'vitest';
import { trainerEnvironment } from '../../workers/trainer-settings.ts';

const worker = {
  PATH: '/bin',
  HOME: '/home/a',
  LD_LIBRARY_PATH: '/lib',
  SOFTFLOW_CACHE: '/cache',
  SOFTFLOW_THREADS: '3',
  TF_ENABLE_ONEDNN_OPTS: '0',
  CUDA_VISIBLE_DEVICES: '1',
  PIP_INDEX_URL: 'https://pypi.org/simple',
  ANOTHER: 'x',
  HF_TOKEN: 's1',
  MY_MODEL: 's2',
  AWS_SECRET_ACCESS_KEY: 's3',
  DATABASE_URL: 's4',
  SOFTFLOW_PAYLOAD_KEY: 's5',
  PGPASSWORD: 's6',
  TF_VAR_database: 's7',
  TF_CLI_CONFIG_FILE: 's8',
};
const {
  ANOTHER,
  HF_TOKEN,
  MY_MODEL,
  AWS_SECRET_ACCESS_KEY,
  DATABASE_URL,
  SOFTFLOW_PAYLOAD_KEY,
  PGPASSWORD,
  TF_VAR_database,
  TF_CLI_CONFIG_FILE,
  ...needed
} = worker;

test('A trainer gets what it needs of the environment of its worker, and no secret.', () => {
  const environment = trainerEnvironment(worker);
  expect(environment).toMatchObject({ ...needed, TF_NUM_INTRAOP_THREADS: '3', OMP_NUM_THREADS: '3' });
  expect(Object.values(environment).filter((value) => /^(x|s\d)$/.test(value ?? ''))).toEqual([]);
});

test('What a person has set of the threads and the memory counts.', () => {
  const set = { OMP_NUM_THREADS: '7', MALLOC_TOP_PAD_: '1' };
  expect(trainerEnvironment(set)).toMatchObject({ ...set, TF_NUM_INTRAOP_THREADS: '2' });
});

test("Job bodies of somebody else's get other variables too, but none that looks like a secret.", () => {
  const environment = trainerEnvironment(worker, { jobsModule: 'file:///jobs.js' });
  expect(environment).toMatchObject({ ...needed, ANOTHER, MY_MODEL });
  expect(Object.values(environment).filter((value) => /^s\d$/.test(value ?? ''))).toEqual(['s2']);
});
