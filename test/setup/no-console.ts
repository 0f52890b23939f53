import { afterEach, beforeEach, expect } from 'vitest';

/** A test that writes to the console fails: what it has to say belongs into an assertion. */
const written: string[] = [];

for (const stream of [process.stdout, process.stderr]) {
  stream.write = ((chunk: string | Uint8Array) => {
    written.push(String(chunk));
    return true;
  }) as typeof stream.write;
}
for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const) {
  console[method] = (...values: unknown[]) => written.push(values.map(String).join(' '));
}

beforeEach(() => {
  written.length = 0;
});

afterEach(() => {
  expect(written, 'the test wrote to the console').toEqual([]);
});
