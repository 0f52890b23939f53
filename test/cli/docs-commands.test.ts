import { describe, expect, it } from 'vitest';
import { difference, docCommands } from '../support/docs-commands.ts';

const page = (...lines: string[]) => docCommands('README.md', lines.join('\n'));

describe('commands of a page', () => {
  it('are read with what they print, and with what stands above their block', () => {
    const [first, second, third] = page(
      '<!-- before: touch a -->',
      '<!-- exit 2 -->',
      '```console',
      '$ softflow run \\',
      '    a.yaml',
      'error USAGE: no',
      '$ softflow list',
      '```',
      '<!-- not run: takes a night -->',
      '```sh',
      '# at night',
      'softflow gc',
      '```',
    );
    expect(first).toMatchObject({
      line: 4,
      command: 'softflow run \\\n    a.yaml',
      output: ['error USAGE: no'],
      exit: 2,
      before: ['touch a'],
    });
    expect(second).toMatchObject({ line: 7, command: 'softflow list', output: [], before: [] });
    expect(third).toMatchObject({ command: 'softflow gc', notRun: 'takes a night', exit: 0 });
    expect(third?.output).toBeUndefined();
  });

  it.each([['```'], ['```yaml']])('cannot hide in a block that begins with %s', (fence) => {
    expect(() => page(fence, '$ softflow list', '```')).toThrow('README.md:2: expected a block `sh` or `console`');
    expect(() => page('    softflow list')).toThrow('README.md:1');
    expect(page(fence, 'name: softflow', '```')).toEqual([]);
  });
});

describe('what a command prints', () => {
  it('may differ in ids, times, sizes, ports and measured figures, and in nothing else', () => {
    const shown = ['run demo-0123abcd took 4 min 2 s, loss .0526, 2.1 GB at 127.0.0.1:80 on 2026-11-25 10:00:00'];
    expect(
      difference(shown, ['run demo-89abcdef took 3 s, loss 1.2,   17 kB at 127.0.0.1:9999 on 2027-01-01 11:11:11', '']),
    ).toBeUndefined();
    expect(difference(shown, ['run alpha-89abcdef took 3 s'])).toContain('it prints       run alpha-89abcdef');
    expect(difference(['20 steps'], ['25 steps'])).toContain('25 steps');
  });

  it('is all that the page shows, but where it says ...', () => {
    expect(difference(['a', '...', 'c'], ['a', 'b', 'b', 'c'])).toBeUndefined();
    expect(difference(['a ... c'], ['a bb c'])).toBeUndefined();
    expect(difference(['a', 'c'], ['a', 'b', 'c'])).toContain('it prints       b');
    expect(difference(['a'], ['a', 'b'])).toContain('it goes on with b');
    expect(difference(['a', 'b'], ['a'])).toContain('(nothing more)');
    expect(difference(['...', 'z'], ['a'])).toContain('the page says   z');
  });
});
