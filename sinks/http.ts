/** Sends JSON and reads JSON. @throws Error with the answer's status and its first words, never with headers */
export async function sendJson(
  url: string,
  { method = 'POST', headers = {}, body, signal }: SendOptions,
): Promise<{ status: number; body: unknown }> {
  const response = await fetch(url, {
    method,
    signal,
    redirect: 'error',
    headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok && response.status !== 404)
    throw new Error(`${new URL(url).pathname} answers with ${response.status}: ${text.slice(0, 200)}`);
  return { status: response.status, body: text === '' || response.status === 404 ? undefined : JSON.parse(text) };
}

export interface SendOptions {
  method?: 'GET' | 'POST' | 'PUT';
  headers?: Record<string, string>;
  body?: unknown;
  signal: AbortSignal;
}
