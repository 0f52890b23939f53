import type { FileSystem } from '../../artifacts/file-system.ts';
import { intercept } from './faulty-file-system.ts';

/** One disk as several processes see it whose operations come in an order that `random` decides. */
export function interleaved(fs: FileSystem, random: (limit: number) => number): FileSystem {
  const waiting: (() => void)[] = [];
  let pumping = false;
  const pump = () => {
    const [next] = waiting.splice(random(waiting.length), 1);
    next?.();
    pumping = waiting.length > 0;
    if (pumping) setImmediate(pump);
  };
  return intercept(fs, async (_, run) => {
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
      if (!pumping) setImmediate(pump);
      pumping = true;
    });
    return run();
  });
}
