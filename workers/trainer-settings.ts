import * as z from 'zod';
import { BACKEND_CHOICES } from './backend-choices.ts';

/** What a trainer process is started with, as one JSON argument. */
export const TrainerSettingsSchema = z.strictObject({
  storeRoot: z.string(),
  backend: z.enum(BACKEND_CHOICES).default('auto'),
  /** URL of a module that takes the place of the job bodies and of the backend. */
  jobsModule: z.string().optional(),
});
export type TrainerSettings = z.input<typeof TrainerSettingsSchema>;

/** Threads that compute when nothing else is said: a fixed number, because it may change a result's last bits. */
const DEFAULT_THREADS = '2';

/**
 * The environment of a trainer. Threads are set, never taken from the cores that happen to be there (`SOFTFLOW_THREADS`).
 * Memory that tensors give back is kept by the process: glibc would otherwise map and zero the same pages again for
 * every large tensor.
 */
export function trainerEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const threads = env['SOFTFLOW_THREADS'] ?? DEFAULT_THREADS;
  return {
    TF_CPP_MIN_LOG_LEVEL: '2',
    TF_NUM_INTEROP_THREADS: '1',
    TF_NUM_INTRAOP_THREADS: threads,
    OMP_NUM_THREADS: threads,
    MALLOC_MMAP_MAX_: '0',
    MALLOC_TRIM_THRESHOLD_: String(2 ** 40),
    MALLOC_TOP_PAD_: String(64 * 2 ** 20),
    ...env,
  };
}
