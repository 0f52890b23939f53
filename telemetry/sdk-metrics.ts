const ANSWER_MS = 3000;

/**
 * The metrics of the Temporal SDK, which its core serves on a port of its own on the loopback interface; empty when it
 * does not answer, because a worker's own figures are then wanted most.
 */
export async function fetchSdkMetrics(port: number): Promise<string> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(ANSWER_MS) });
    return response.ok ? await response.text() : '';
  } catch {
    return '';
  }
}
