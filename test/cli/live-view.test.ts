import { describe, expect, it } from 'vitest';
import type { Progress } from '../../activities/contracts.ts';
import { followRun } from '../../cli/follow-run.ts';
import { eventLine, eventsBetween, type LiveRun, progressEvents, renderRun, renderShort } from '../../cli/live-view.ts';
import { paintFor, type Terminal } from '../../cli/terminal.ts';
import { stageState } from '../../client/run-stages.ts';
import type { RunStatus, StepStatus } from '../../workflows/run-state.ts';

const step = (id: string, stage: StepStatus['stage'], state: StepStatus['state'], label = id): StepStatus => ({
  id,
  stage,
  state,
  label,
  step: stage === 'sft' ? 'trainEpoch' : 'prepareData',
});

const metrics = { hr: { '10': 0.0125 }, ndcg: { '10': 0.006 }, windows: 64, existingTitles: 0.4 };
const status: RunStatus = {
  runId: 'demo-1',
  phase: 'running',
  stage: 'sft',
  steps: [
    step('prepare', 'prepare', 'reused'),
    step('encode', 'encode', 'run'),
    step('sft-1', 'sft', 'run'),
    step('sft-2', 'sft', 'running', 'SFT epoch 2: train'),
  ],
  sft: [{ epoch: 1, lambda: 0, distance: null, distanceAfter: null, trainLoss: 2.5, validation: metrics }],
  curriculum: [],
  curriculumAlpha: 1,
  latest: { loss: 2.5, lambda: 0, validation: metrics },
};
const progress: Progress = {
  step: 'trainEpoch',
  position: 'epoch 2, step 3/16, micro-batch 1/2',
  done: 96,
  total: 512,
  unit: 'windows',
  rate: 1.634,
  secondsLeft: 255,
  loss: 1.5312,
};
const run: LiveRun = { status, progress: [progress], elapsedSeconds: 3725 };
const plain = paintFor(false);

describe('the live view', () => {
  it('shows a line per stage with progress, rate, time left and the latest figures', () => {
    expect(renderRun(run, 140, plain)).toEqual([
      'demo-1 running 1 h 02 min',
      '+ prepare      reused',
      '+ encode       done',
      '> sft          SFT epoch 2: train  [###-------------]  18 %  4 min 15 s left  1.63 windows/s  epoch 2, step 3/16, micro-batch 1/2',
      '  self-distil',
      '  curriculum',
      '  test',
      '  release',
      '  report',
      '  loss 1.53   validation HR@10 0.0125   existing titles 0.4',
    ]);
  });

  it('shows one run among several by what is at work', () => {
    expect(renderShort(run, 140, plain)).toEqual([
      'demo-1 running 1 h 02 min',
      '> sft          SFT epoch 2: train  [###-------------]  18 %  4 min 15 s left  1.63 windows/s  epoch 2, step 3/16, micro-batch 1/2',
      '  loss 1.53   validation HR@10 0.0125   existing titles 0.4',
    ]);
  });

  it('shows lambda and distance in the curriculum', () => {
    const later: LiveRun = {
      ...run,
      progress: [],
      status: {
        ...status,
        stage: 'curriculum',
        curriculum: status.sft,
        latest: { loss: 1.4, lambda: 0.0613, distance: 29.34 },
      },
    };
    expect(renderRun(later, 100, plain).at(-1)).toBe('  loss 1.4   lambda 0.0613   distance 29.3');
  });

  it('shows how near the machine training is to its limit, where the heartbeat tells', () => {
    const fast: LiveRun = { ...run, progress: [{ ...progress, tokensPerSecond: 325.4, mfu: 0.789 }] };
    expect(renderRun(fast, 160, plain).join('\n')).toContain('325 tokens/s   mfu 0.79');
    expect(progressEvents(undefined, fast).map(eventLine)[0]).toContain('325 tokens/s   mfu 0.79');
    expect(renderRun(run, 160, plain).join('\n')).not.toContain('mfu');
  });

  it('says that a running step without progress is starting', () => {
    expect(renderRun({ ...run, progress: [] }, 100, plain)[3]).toBe('> sft          SFT epoch 2: train  starting');
  });

  it('says that a step of a paused run is held, not starting', () => {
    const paused: LiveRun = { ...run, status: { ...status, phase: 'paused' }, progress: [] };
    expect(renderRun(paused, 100, plain)[3]).toBe('> sft          SFT epoch 2: train  held');
  });

  it('says how a paused run goes on', () => {
    const paused: LiveRun = {
      ...run,
      status: { ...status, phase: 'paused' },
      notice: 'trainEpoch waits for a worker.',
    };
    expect(renderRun(paused, 100, plain).at(-1)).toBe('  Paused. To go on: softflow resume demo-1');
  });

  it('counts reused steps', () => {
    const steps = [step('a', 'sft', 'reused'), step('b', 'sft', 'reused'), step('c', 'sft', 'run')];
    const done: LiveRun = { ...run, progress: [], status: { ...status, phase: 'completed', stage: 'report', steps } };
    expect(renderRun(done, 100, plain)[3]).toBe('+ sft          3 steps, 2 reused');
    expect(stageState('report', done.status)).toBe('done');
  });

  it('never writes a line wider than the terminal', () => {
    for (const columns of [41, 60, 80])
      for (const line of renderRun(run, columns, plain)) expect(line.length).toBeLessThan(columns);
  });

  it('passes no control sequence of a label, a position or a run id on to the terminal', () => {
    const evil = '\u001b]0;pwned\u0007\u001b[2Jx\u202e\r\n\u009b31m';
    const hostile: LiveRun = {
      status: { ...status, runId: `r${evil}`, steps: [step('s', 'sft', 'running', `l${evil}`)] },
      progress: [{ ...progress, position: evil, unit: evil }],
      notice: evil,
    };
    const text =
      renderRun(hostile, 200, plain).join('\n') + eventsBetween(undefined, hostile).map(eventLine).join('\n');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose.
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    expect(text).not.toContain('pwned');
  });

  it('paints only when asked to', () => {
    expect(renderRun(run, 100, paintFor(true)).join('')).toContain('\u001b[36m');
    expect(renderRun(run, 100, plain).join('')).not.toContain('\u001b');
  });
});

describe('events', () => {
  it('are the steps that changed, the new epochs and the phase', () => {
    const before: LiveRun = {
      ...run,
      status: {
        ...status,
        sft: [],
        steps: [step('prepare', 'prepare', 'reused'), step('encode', 'encode', 'running')],
      },
    };
    expect(eventsBetween(before, run).map(eventLine)).toEqual([
      'encode: encode: done',
      'sft: sft-1: done',
      'sft: SFT epoch 2: train: started',
      'sft: epoch 1: loss 2.5  validation HR@10 0.0125',
    ]);
    expect(eventsBetween(run, run)).toEqual([]);
  });

  it('say from where a step was resumed', () => {
    const resumed = { ...step('sft-2', 'sft', 'running', 'SFT epoch 2: train'), resumedFrom: 'step 9/16' };
    const events = eventsBetween(undefined, { ...run, status: { ...status, steps: [resumed], sft: [] } });
    expect(events.map(eventLine)).toEqual([
      'demo-1: running',
      'sft: SFT epoch 2: train: started (resumed from step 9/16)',
    ]);
  });

  it('say in which state, once the step is at work again', () => {
    const steps = [step('sft-2', 'sft', 'running', 'SFT epoch 2: train')];
    const before = { ...run, status: { ...status, steps } };
    const message = 'resumed at epoch 2, step 9/16, micro-batch 12/32 (checkpoint 38 s old, attempt 2, ...)';
    const now = { ...before, resumed: { 'sft-2': message } };
    expect(eventsBetween(before, now).map(eventLine)).toEqual([`SFT epoch 2: train: ${message}`]);
    expect(eventsBetween(now, now)).toEqual([]);
    expect(renderRun(now, 200, paintFor(false))).toContain(`  ${message}`);
  });

  it('report progress only when it moved', () => {
    expect(progressEvents(run, run)).toEqual([]);
    expect(progressEvents(undefined, run).map(eventLine)).toEqual([
      'SFT epoch 2: train:  epoch 2, step 3/16, micro-batch 1/2  18 %  1.63 windows/s  4 min 15 s left  loss 1.53',
    ]);
  });
});

describe('following a run', () => {
  const terminal = (interactive = false) => {
    const lines: string[] = [];
    const write = (line: string) => void lines.push(line);
    const open: Terminal = { out: write, err: write, raw: write, interactive, columns: 100, paint: plain };
    return { lines, open };
  };
  const completed: LiveRun = { ...run, progress: [], status: { ...status, phase: 'completed' } };

  it('prints plain lines, ends with the run and returns its last state', async () => {
    const looks = [run, run, completed];
    const { lines, open } = terminal();
    const last = await followRun(async () => looks.shift() ?? completed, open, { pollMs: 1 });
    expect(last).toBe(completed);
    expect(lines.filter((line) => line.startsWith('SFT epoch 2: train:'))).toHaveLength(1);
    expect(lines.at(-1)).toBe('demo-1: completed');
  });

  it('prints one JSON object a line with --json', async () => {
    const { lines, open } = terminal();
    await followRun(async () => completed, open, { json: true, pollMs: 1 });
    const events = lines.map((line) => JSON.parse(line) as { event: string });
    expect(events.at(-1)).toEqual({ event: 'phase', runId: 'demo-1', phase: 'completed' });
    expect(events.some(({ event }) => event === 'epoch')).toBe(true);
  });

  it('redraws in place on a terminal', async () => {
    const looks = [run, completed];
    const { lines, open } = terminal(true);
    await followRun(async () => looks.shift() ?? completed, open, { pollMs: 1 });
    expect(lines).toHaveLength(2);
    expect(lines[1]?.startsWith('\u001b[11A\u001b[0J')).toBe(true);
    expect(lines[0]).toContain('Ctrl-C detaches');
  });

  it('stops at once when aborted and leaves the run alone', async () => {
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 20);
    const last = await followRun(async () => run, terminal().open, { pollMs: 60_000, signal: abort.signal });
    expect(last?.status.phase).toBe('running');
  });

  it('waits for a server that is restarted, and says so', async () => {
    let calls = 0;
    const { lines, open } = terminal();
    const look = async () => {
      calls++;
      if (calls === 2) throw Object.assign(new Error('UNAVAILABLE'), { code: 14 });
      return calls > 2 ? completed : run;
    };
    await followRun(look, open, { pollMs: 1 });
    expect(lines.join('\n')).toContain('The server does not answer');
    expect(lines.at(-1)).toBe('demo-1: completed');
  });

  it('shows trouble only once it lasts', async () => {
    const troubled: LiveRun = { ...run, notice: 'No worker answers.' };
    const follow = async (noticeAfterMs: number) => {
      const looks = [troubled, troubled, troubled];
      const { lines, open } = terminal();
      await followRun(async () => looks.shift() ?? completed, open, { pollMs: 5, noticeAfterMs });
      return lines.filter((line) => line === 'No worker answers.').length;
    };
    expect(await follow(60_000)).toBe(0);
    expect(await follow(1)).toBe(1);
  });

  it('waits also when it is the cause of the error that says so', async () => {
    const looks = [Object.assign(new Error('Failed to describe'), { cause: Object.assign(new Error(), { code: 14 }) })];
    const look = async () => {
      const error = looks.shift();
      if (error) throw error;
      return completed;
    };
    expect(await followRun(look, terminal().open, { pollMs: 1 })).toBe(completed);
  });

  it('fails when the server stays silent, and at once on any other error', async () => {
    const silent = async () => Promise.reject(Object.assign(new Error('UNAVAILABLE'), { code: 14 }));
    await expect(followRun(silent, terminal().open, { pollMs: 1, silenceMs: 20 })).rejects.toThrow('UNAVAILABLE');
    await expect(followRun(() => Promise.reject(new Error('bug')), terminal().open, { pollMs: 1 })).rejects.toThrow(
      'bug',
    );
  });
});
