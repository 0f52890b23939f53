import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

/** The real command against the embedded server, workers and trainer, with a tiny random model. */
const bin = fileURLToPath(new URL('../../bin/softflow.mjs', import.meta.url));
const model = fileURLToPath(new URL('../reference/tiny-llama', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'softflow-runs-'));
const { TEMPORAL_ADDRESS: _, NO_COLOR: __, ...env } = process.env;

const RECIPE = `
name: tiny
model: {source: {folder: ${model}}}
data:
  source: {planted: {series: 10, users: 30, seriesPerUser: 3}}
  kCore: 1
  samples: {train: 16, valid: 4, test: 4}
train: {batchSize: 4, microBatchSize: 4, maxEpochs: 2}
soft: {distancePrompts: 4}
generation: {maxNewTokens: 8, beamWidth: 2, tileRows: 4}
evaluation: {ks: [1, 5, 10]}
`;

function softflow(args: string[], extra: Record<string, string> = {}): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [bin, ...args], { cwd: folder, encoding: 'utf8', env: { ...env, ...extra } });
}

/** Starts a run, presses Ctrl-C as soon as it has an id, and gives that id with how the command ended. */
function startAndDetach(): Promise<{ runId: string; code: number | null; stderr: string }> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [bin, 'run', 'tiny.yaml'], { cwd: folder, env });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data) => {
      const before = stdout;
      stdout += data;
      if (stdout.includes(': running') && !before.includes(': running')) child.kill('SIGINT');
    });
    child.stderr.on('data', (data) => {
      stderr += data;
    });
    child.on('close', (code) => done({ runId: /^run (\S+)$/m.exec(stdout)?.[1] ?? stdout + stderr, code, stderr }));
  });
}

const runFile = (runId: string, file: string) => join(folder, '.softflow', 'runs', runId, file);

beforeAll(() => writeFileSync(join(folder, 'tiny.yaml'), RECIPE));
afterAll(() => {
  softflow(['dev', 'stop']);
  rmSync(folder, { recursive: true });
}, 120_000);

/** Long enough to be caught in the act. */
const LONGER = ['-s', 'data.source.planted.users=100', '-s', 'data.samples.train=256'];

describe('commands about runs', { timeout: 180_000 }, () => {
  let first = '';

  it('start nothing and make no folder where only asked for what is there', () => {
    expect(softflow(['list'])).toMatchObject({
      status: 0,
      stdout: 'No runs yet. Next: softflow demo, or softflow init for a recipe of your own\n',
    });
    expect(softflow(['status', 'latest'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('RUN_NOT_FOUND'),
    });
    expect(existsSync(join(folder, '.softflow'))).toBe(false);
  });

  it('run detaches at Ctrl-C with exit code 130 and says how to reach the run', async () => {
    const { runId, code, stderr } = await startAndDetach();
    expect(runId).toMatch(/^tiny-[0-9a-f]{8}$/);
    expect(code).toBe(130);
    expect(stderr).toContain(`softflow watch ${runId}`);
    expect(stderr).toContain(`softflow stop ${runId}`);
    first = runId;
  });

  it('watch shows the run to its end, the table and what was written', () => {
    const { status, stdout } = softflow(['watch', first]);
    expect(status).toBe(0);
    expect(stdout).toContain(`${first}: completed`);
    expect(stdout).toMatch(/^SOFT +\.\d{4}/m);
    expect(stdout).toContain('npx softflow run tiny.yaml -s soft.curriculumAlpha=');
    expect(stdout).not.toContain('\u001b');
    for (const file of ['metrics.json', 'telemetry.json', 'run.json', 'report.html', 'adapter/adapter_config.json'])
      expect(existsSync(runFile(first, file)), file).toBe(true);
  });

  it('run of the same recipe reuses every step, says so, and makes the same metrics byte for byte', () => {
    const { status, stdout } = softflow(['run', 'tiny.yaml', '--name', 'again', '--tag', 'a', '--tag', 'b']);
    expect(status).toBe(0);
    expect(stdout).toContain('Every step was reused from an earlier run; nothing was computed again.');
    const runId = /^run (\S+)$/m.exec(stdout)?.[1] ?? '';
    expect(runId).toMatch(/^again-/);
    expect(readFileSync(runFile(runId, 'metrics.json'))).toEqual(readFileSync(runFile(first, 'metrics.json')));
    expect(readFileSync(runFile('latest', 'run.json'), 'utf8')).toContain(runId);
  });

  it('status and list tell phase and figures, also as JSON', () => {
    const look = JSON.parse(softflow(['status', first.slice(0, 8), '--json']).stdout);
    expect(look).toMatchObject({ status: { runId: first, phase: 'completed' }, progress: [] });
    const runs = JSON.parse(softflow(['list', '--json']).stdout) as { runId: string }[];
    expect(runs.map(({ runId }) => runId.replace(/-.*/, ''))).toEqual(['again', 'tiny']);
    expect(softflow(['list']).stdout).toMatch(/^again-\w+ +completed .* loss \d/);
  });

  it('report shows the results of any run again, and leaves `latest` with the newest', () => {
    const { status, stdout } = softflow(['report', first]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^SOFT +\.\d{4}/m);
    expect(stdout).toContain(`.softflow/runs/${first}/report.html`);
    const found = JSON.parse(softflow(['report', first, '--json']).stdout);
    expect(found).toMatchObject({ runId: first, report: `.softflow/runs/${first}/report.html` });
    expect(found.metrics).toEqual(JSON.parse(readFileSync(runFile(first, 'metrics.json'), 'utf8')));
    expect(readlinkSync(join(folder, '.softflow', 'runs', 'latest'))).toMatch(/^again-/);
  });

  it('run stops after a step, resume goes on, and from a step on computes the same bytes once more', () => {
    const args = ['tiny.yaml', '-s', 'seed=6', '--name', 'part'];
    expect(softflow(['run', ...args, '--until', 'slef-distil'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('did you mean "self-distil"?'),
    });
    const begun = softflow(['run', ...args, '--until', 'self-distil']);
    expect(begun.status).toBe(0);
    const runId = /^run (\S+)$/m.exec(begun.stdout)?.[1] ?? '';
    expect(begun.stdout).toContain(`${runId}: stopped after self-distil, as asked. Next: softflow resume ${runId}`);
    expect(softflow(['resume', runId]).stdout).toContain(`${runId}: completed`);
    const files = ['metrics.json', 'adapter/adapter_model.safetensors'];
    const before = files.map((file) => readFileSync(runFile(runId, file)));
    const again = softflow(['resume', runId, '--from', 'sft-2-train', '--json']).stdout.trim().split('\n');
    const steps = again.map((line) => JSON.parse(line)).filter(({ event }) => event === 'step');
    expect(steps.find(({ id }) => id === 'sft-1-validate').state).toBe('reused');
    expect(steps.findLast(({ id }) => id === 'sft-2-train').state).toBe('run');
    expect(JSON.parse(again.at(-1) ?? '')).toMatchObject({ event: 'end', phase: 'completed' });
    expect(files.map((file) => readFileSync(runFile(runId, file)))).toEqual(before);
  });

  it('refuse what makes no sense, with a reason', () => {
    expect(softflow(['resume', first])).toMatchObject({ status: 1, stderr: expect.stringContaining('RUN_COMPLETED') });
    expect(softflow(['set', first, 'curriculumAlpha=3'])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('it is completed. Start another run'),
    });
    expect(softflow(['set', first, 'seed=3'])).toMatchObject({ status: 2, stderr: expect.stringContaining('USAGE') });
    expect(softflow(['status', 'nothing'])).toMatchObject({ status: 2, stderr: expect.stringContaining(first) });
  });

  it('pause holds a run, run of the same recipe shows it, resume lets it go on', () => {
    const started = softflow(['run', 'tiny.yaml', ...LONGER, '-s', 'seed=7', '--detach', '--json']);
    const { runId } = JSON.parse(started.stdout) as { runId: string };
    const second = softflow(['run', 'tiny.yaml', ...LONGER, '-s', 'seed=7', '--detach', '--json']);
    expect(second.stderr).toContain(`running already as ${runId}`);
    expect(JSON.parse(softflow(['pause', runId, '--json']).stdout)).toMatchObject({ runId, phase: 'paused' });
    expect(softflow(['report', runId])).toMatchObject({ status: 1, stderr: expect.stringContaining('RUN_UNFINISHED') });
    expect(softflow(['status', runId]).stdout).toContain(`softflow resume ${runId}`);
    expect(softflow(['pause', runId])).toMatchObject({ status: 1, stderr: expect.stringContaining('UPDATE_REFUSED') });
    expect(softflow(['set', runId, 'curriculumAlpha=10']).status).toBe(0);
    const resumed = softflow(['resume', runId]);
    expect(resumed.status).toBe(0);
    expect(resumed.stdout).toContain(`${runId}: completed`);
  });

  it('stop after the round ends a run, which can be resumed', () => {
    const { runId } = JSON.parse(
      softflow(['run', 'tiny.yaml', ...LONGER, '-s', 'seed=8', '--detach', '--json']).stdout,
    ) as {
      runId: string;
    };
    expect(softflow(['stop', runId, '--after', 'round']).status).toBe(0);
    const watched = softflow(['watch', runId]);
    expect(watched.status).toBe(1);
    expect(watched.stderr).toContain(
      `${runId}: stopped. Everything done so far is kept. Next: softflow resume ${runId}`,
    );
    expect(softflow(['resume', runId, '--detach']).status).toBe(0);
    expect(softflow(['stop', runId]).status).toBe(0);
  });

  it('watch follows several runs to their ends, also over a server that is stopped and started elsewhere', async () => {
    const start = (name: string, ...more: string[]): string =>
      JSON.parse(
        softflow([
          'run',
          'tiny.yaml',
          ...LONGER,
          '-s',
          'data.samples.train=64',
          ...more,
          '--name',
          name,
          '--detach',
          '--json',
        ]).stdout,
      ).runId;
    const failing = start('watched-a', '-s', 'evaluation.ks=1,10,500');
    const other = start('watched-b', '-s', 'seed=9');
    expect(softflow(['watch', 'watched'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('RUN_AMBIGUOUS'),
    });
    expect(softflow(['pause', other]).status).toBe(0);
    const child = spawn(process.execPath, [bin, 'watch', failing, other, other], { cwd: folder, env });
    let printed = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (printed += data));
    const until = (text: string) =>
      vi.waitFor(() => expect(printed).toContain(text), { timeout: 90_000, interval: 100 });
    await until(`${other}  ${other}: paused`);
    expect(softflow(['dev', 'stop']).status).toBe(0);
    // Another folder's server takes the port that became free, and knows nothing of these runs.
    const elsewhere = mkdtempSync(join(tmpdir(), 'softflow-elsewhere-'));
    const dev = (action: string) => spawnSync(process.execPath, [bin, 'dev', action], { cwd: elsewhere, env }).status;
    expect(dev('start')).toBe(0);
    await until('The server does not answer');
    expect(softflow(['resume', other, '--detach']).status).toBe(0);
    expect(dev('stop')).toBe(0);
    rmSync(elsewhere, { recursive: true });
    const code = await new Promise((done) => child.on('close', done));
    expect(printed).not.toContain('does not know this run');
    expect(printed).toContain(`error CATALOGUE_TOO_SMALL`);
    expect(printed).toContain(`${other}: completed. Next: softflow report ${other}`);
    expect(code).toBe(1);
  });

  it('exit with 1 when the run fails, and name the way on', () => {
    const { status, stderr } = softflow(['run', 'tiny.yaml', '-s', 'evaluation.ks=1,10,500', '--name', 'failing']);
    expect(status).toBe(1);
    expect(stderr).toContain('error CATALOGUE_TOO_SMALL');
    expect(stderr).toMatch(/Next: softflow resume failing-/);
  });

  it('fail when a configured server does not answer, instead of using another', () => {
    const { status, stderr } = softflow(['run', 'tiny.yaml'], { TEMPORAL_ADDRESS: '127.0.0.1:1' });
    expect(status).toBe(1);
    expect(stderr).toContain('TEMPORAL_UNREACHABLE');
    expect(softflow(['list'], { TEMPORAL_ADDRESS: 'example.org:7233' }).status).toBe(2);
  });

  it('dev tells what runs and ends it; status then answers from the store', () => {
    const running = JSON.parse(softflow(['dev', 'status', '--json']).stdout);
    expect(running).toMatchObject({ running: true, address: expect.stringMatching(/^127\.0\.0\.1:\d+$/) });
    expect(softflow(['dev', 'stop'])).toMatchObject({ status: 0, stdout: expect.stringContaining('Stopped.') });
    expect(JSON.parse(softflow(['dev', '--json']).stdout)).toMatchObject({ running: false, workers: [] });
    expect(softflow(['status', first]).stdout).toContain(`${first} completed`);
    expect(softflow(['pause', first])).toMatchObject({ status: 1, stderr: expect.stringContaining('RUN_NOT_ACTIVE') });
    expect(softflow(['watch', first])).toMatchObject({
      status: 0,
      stdout: expect.stringContaining(`${first}: completed`),
    });
    expect(softflow(['dev', 'stpo'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('did you mean "stop"?'),
    });
  });
});
