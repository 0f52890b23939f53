import { findModel } from '../../setup/model-source.ts';

/** Path of SmolLM2-135M's GGUF: `SOFTFLOW_TEST_GGUF`, or the cache; undefined when neither has it. */
export async function findSmollm2(): Promise<string | undefined> {
  return process.env['SOFTFLOW_TEST_GGUF'] ?? findModel({ registry: 'smollm2-135m-instruct' });
}
