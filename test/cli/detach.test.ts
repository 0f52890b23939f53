import { expect, it } from 'vitest';
import { detachedRuns } from '../../cli/detach.ts';
import { openTerminal } from '../../cli/terminal.ts';

it('leaves several runs with an event each and one command that watches them all', () => {
  const [out, err]: [string[], string[]] = [[], []];
  const write = (to: string[]) => ({ write: (text: string) => to.push(text) });
  const terminal = openTerminal({ stdout: write(out), stderr: write(err), env: {} });
  expect(detachedRuns(['a-1', 'b-2'], true, terminal)).toBe(130);
  expect(out.map((line) => JSON.parse(line))).toEqual([
    { event: 'detached', runId: 'a-1' },
    { event: 'detached', runId: 'b-2' },
  ]);
  expect(err.join('')).toBe('\nDetached; a-1, b-2 go on.\n  watch them   softflow watch a-1 b-2\n');
});
