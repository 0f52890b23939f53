import * as z from 'zod';
import { isLibraryVariable, isTerraformVariable } from '../model/library-variables.ts';
import { BACKEND_CHOICES } from './backend-choices.ts';

/** What a trainer process is started with, as one JSON argument. */
export const TrainerSettingsSchema = z.strictObject({
  storeRoot: z.string(),
  backend: z.enum(BACKEND_CHOICES).default('auto'),
  /** What it may use of a GPU's memory. */
  maxVramBytes: z.number().positive().optional(),
  /** URL of a module that takes the place of the job bodies and of the backend. */
  jobsModule: z.string().optional(),
});
export type TrainerSettings = z.input<typeof TrainerSettingsSchema>;

/** Threads that compute when nothing else is said: a fixed number, because it may change a result's last bits. */
const DEFAULT_THREADS = '2';

/** What of a worker's environment its trainer needs beside what libraries read: where things are. */
const NEEDED = /^(PATH|HOME|USER|LOGNAME|LANG|LC_.*|TZ|TMPDIR|LD_.*|NODE_.*|XDG_.*|DISPLAY|SOFTFLOW_.*)$/;
/** What pip and the compiler read where the tensor library is not there yet. */
const FOR_SET_UP = /^(PIP_.*|CXX|PYTHON.*|SSL_CERT_.*|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|(HTTPS?|ALL|NO)_PROXY)$/i;
const SECRET = /(SECRET|TOKEN|PASSW|CREDENTIAL|PRIVATE|AUTH|COOKIE|KEY|DSN)|_UR[IL]$/i;

/**
 * The environment of a trainer: what it needs, and no secret, since model and data come to it as files. Job bodies of
 * somebody else's may read variables of their own, but none that looks like a secret. Threads are set, never taken from
 * the cores that happen to be there (`SOFTFLOW_THREADS`).
 * Memory that tensors give back is kept by the process: glibc would otherwise map and zero the same pages again for
 * every large tensor.
 */
export function trainerEnvironment(
  env: NodeJS.ProcessEnv,
  { jobsModule, maxVramBytes }: Pick<TrainerSettings, 'jobsModule' | 'maxVramBytes'> = {},
): NodeJS.ProcessEnv {
  const asked = (name: string) => jobsModule !== undefined || NEEDED.test(name) || isLibraryVariable(name);
  const passed = ([name]: [string, unknown]) =>
    FOR_SET_UP.test(name) || (asked(name) && !SECRET.test(name) && !isTerraformVariable(name));
  const threads = env['SOFTFLOW_THREADS'] ?? DEFAULT_THREADS;
  return {
    TF_CPP_MIN_LOG_LEVEL: '2',
    TF_NUM_INTEROP_THREADS: '1',
    TF_NUM_INTRAOP_THREADS: threads,
    OMP_NUM_THREADS: threads,
    MALLOC_MMAP_MAX_: '0',
    MALLOC_TRIM_THRESHOLD_: String(2 ** 40),
    MALLOC_TOP_PAD_: String(64 * 2 ** 20),
    ...Object.fromEntries(Object.entries(env).filter(passed)),
    ...(maxVramBytes === undefined
      ? {}
      : { TF_PER_DEVICE_MEMORY_LIMIT_MB: String(Math.floor(maxVramBytes / 2 ** 20)) }),
  };
}
