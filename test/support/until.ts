import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until something holds. */
export async function until(holds: () => Promise<boolean> | boolean, seconds = 30): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s`);
    await sleep(50);
  }
}
