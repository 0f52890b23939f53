import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LivePart } from './layout.ts';

/** A line without content now and then shows whether anybody still listens. */
const BEAT_MS = 15_000;

/**
 * Sends a page's live part as server-sent events whenever it has changed, until the reader goes. A look that fails is
 * tried again at the next beat: the page keeps what it shows.
 */
export async function sendLive(response: ServerResponse, look: () => Promise<LivePart>, pollMs: number): Promise<void> {
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  let shown = '';
  let writtenAt = 0;
  while (!gone.signal.aborted) {
    const now = await look().then(JSON.stringify, () => shown);
    const changed = now !== shown;
    if (changed || Date.now() - writtenAt > BEAT_MS) {
      response.write(changed ? `data: ${now}\n\n` : ':\n\n');
      writtenAt = Date.now();
    }
    shown = now;
    await sleep(pollMs, undefined, { signal: gone.signal }).catch(() => {});
  }
}
