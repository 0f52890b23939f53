import { appendFile, mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { encodeEvents } from './event-file.ts';
import { newScalars, type ScalarCursor } from './run-scalars.ts';
import type { Sink } from './sink.ts';

/** Event files in `<SOFTFLOW_TENSORBOARD_DIR>/<run id>`, which TensorBoard shows as one run each. */
export function tensorBoardSink(env: NodeJS.ProcessEnv): Sink | undefined {
  const root = env['SOFTFLOW_TENSORBOARD_DIR'];
  if (!root) return undefined;
  return {
    name: 'tensorboard',
    async report(run, before): Promise<ScalarCursor> {
      const { scalars, cursor } = await newScalars(run, before as ScalarCursor | undefined);
      if (scalars.length === 0) return cursor;
      const folder = join(root, run.runId);
      await mkdir(folder, { recursive: true });
      const now = Date.now() / 1000;
      // One file a report: TensorBoard reads a folder's files in the order of their names, and no file twice.
      const name = `events.out.tfevents.${String(Math.floor(now * 1000)).padStart(13, '0')}.${hostname()}.${process.pid}`;
      await appendFile(join(folder, name), encodeEvents(scalars, now));
      return cursor;
    },
  };
}
