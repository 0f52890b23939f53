import { describe, expect, it } from 'vitest';
import { Side } from '../../bench/side.ts';

const ECHO = `
  const say = (answer) => console.log(JSON.stringify({ peakRssBytes: 7, ...answer }));
  say({ seconds: 0 });
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const request = JSON.parse(line);
    if (request.do === 'encode') process.exit(3);
    say(request.do === 'loss' ? { error: 'no such thing' } : { seconds: 1, tokens: request.prompts });
  });`;

const start = (script: string) => new Side('echo', process.execPath, ['-e', script]);

describe('a side of the benchmark', () => {
  it('answers one request a line', async () => {
    const side = start(ECHO);
    expect(await side.ready()).toEqual({ seconds: 0, peakRssBytes: 7 });
    expect((await side.ask({ do: 'generate', prompts: 3 })).tokens).toBe(3);
    expect((await side.ask({ do: 'generate', prompts: 4 })).tokens).toBe(4);
    await side.end();
  });

  it('passes its errors on', async () => {
    const side = start(ECHO);
    await side.ready();
    await expect(side.ask({ do: 'loss', first: 0 })).rejects.toThrow('echo: no such thing');
    await side.end();
  });

  it('says when it ends too early, with what it wrote as errors', async () => {
    const side = start(`console.error('out of luck'); process.exit(1)`);
    await expect(side.ready()).rejects.toThrow(/the process ended[\s\S]*out of luck/);
    const dying = start(ECHO);
    await dying.ready();
    await expect(dying.ask({ do: 'encode' })).rejects.toThrow(/the process ended/);
    await dying.end();
  });
});
