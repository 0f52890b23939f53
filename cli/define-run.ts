import { SoftflowError } from '../errors.ts';
import { type RunConfig, type RunConfigInput, RunConfigSchema } from '../workflows/run-config.ts';
import { faultsOf } from './config-faults.ts';

/**
 * A run config with every default filled in, from a program instead of a recipe.
 * @throws SoftflowError `CONFIG_INVALID` with every fault at once
 */
export function defineRun(input: RunConfigInput): RunConfig {
  const parsed = RunConfigSchema.safeParse(input);
  if (parsed.success) return parsed.data;
  const faults = faultsOf(parsed.error.issues, input).map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new SoftflowError('CONFIG_INVALID', faults.join('\n'), { details: { faults } });
}
