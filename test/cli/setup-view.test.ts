import { describe, expect, it } from 'vitest';
import { setupNeeds } from '../../cli/setup-run.ts';
import { openSetupView, progressLine } from '../../cli/setup-view.ts';
import { paintFor, type Terminal } from '../../cli/terminal.ts';
import { type RunConfigInput, RunConfigSchema } from '../../workflows/run-config.ts';

function open(interactive = false) {
  const out: string[] = [];
  const err: string[] = [];
  const terminal: Terminal = {
    out: (line) => void out.push(line),
    err: (line) => void err.push(line),
    raw: (text) => void out.push(text),
    interactive,
    columns: 80,
    paint: paintFor(false),
  };
  return { out, err, terminal };
}

describe('the view of set-up', () => {
  it('writes a line per phase and a share every ten seconds to stderr', () => {
    const { out, err, terminal } = open();
    let now = 0;
    const view = openSetupView(terminal, () => now);
    for (const bytes of [0, 50, 100]) {
      view.onProgress({ item: 'model', phase: 'download', bytes: bytes * 1e6, totalBytes: 100e6 });
      now += 6000;
    }
    view.onProgress({ item: 'model', phase: 'unpack' });
    view.onProgress({ item: 'model', phase: 'ready', message: '/cache/model' });
    expect(err).toEqual([
      'set-up: model: download [----------------] 0 B of 100 MB',
      'set-up: model: download [################] 100 MB of 100 MB',
      'set-up: model: unpack',
    ]);
    expect(out).toEqual([]);
  });

  it('counts files where a compiler works', () => {
    expect(progressLine({ item: 'tensorflow', phase: 'compile', bytes: 1, totalBytes: 2 }, 80)).toBe(
      'set-up: tensorflow: compile [########--------] 1 of 2',
    );
  });

  it('prints a notice once, without control sequences', () => {
    const { err, terminal } = open();
    const view = openSetupView(terminal);
    for (let i = 0; i < 2; i++)
      view.onProgress({ item: 'data', phase: 'notice', message: 'MovieLens:\nresearch only\u001b[2J' });
    expect(err).toEqual(['MovieLens:\nresearch only']);
  });

  it('redraws one line on a terminal and removes it at the end', () => {
    const { out, terminal } = open(true);
    const view = openSetupView(terminal);
    view.onProgress({ item: 'model', phase: 'unpack' });
    view.onProgress({ item: 'model', phase: 'verify' });
    view.end();
    expect(out).toEqual(['set-up: model: unpack\n', '\u001b[1A\u001b[0Jset-up: model: verify\n', '\u001b[1A\u001b[0J']);
  });
});

describe('the needs of a recipe', () => {
  const needs = (input: RunConfigInput) => setupNeeds(RunConfigSchema.parse(input));

  it('are its model and data where softflow fetches them', () => {
    expect(
      needs({
        model: { source: { registry: 'smollm2-135m-instruct' } },
        data: { source: { registry: 'movielens-100k' } },
      }),
    ).toEqual({
      tensorflow: true,
      model: { registry: 'smollm2-135m-instruct' },
      data: 'ml-100k',
    });
    expect(needs({ model: { source: { hub: 'a/b' } }, data: { source: { planted: {} } } })).toEqual({
      tensorflow: true,
      model: { id: 'a/b', revision: 'main' },
    });
  });

  it('are the library alone for files of your own', () => {
    expect(needs({ model: { source: { folder: '/m' } }, data: { source: { planted: {} } } })).toEqual({
      tensorflow: true,
    });
  });
});
