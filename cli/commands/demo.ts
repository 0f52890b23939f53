import { join, relative } from 'node:path';
import { SoftflowError } from '../../errors.ts';
import { packageRoot } from '../../setup/paths.ts';
import { loadConfigFile } from '../config-file.ts';
import { untilCtrlC } from '../detach.ts';
import type { DisturbedRun } from '../disturbed-run.ts';
import { EXIT } from '../exit-codes.ts';
import { followRun } from '../follow-run.ts';
import { openSession } from '../session.ts';
import { runSetup, setupNeeds } from '../setup-run.ts';
import { oneLine, type Terminal } from '../terminal.ts';

export interface DemoOptions {
  kill?: boolean;
  kills: string;
  set: string[];
  json?: boolean;
}

const RECIPE = join('recipes', 'demo.yaml');
const MAX_KILLS = 100;
/** What must be the same bytes. */
const COMPARED = ['adapter/adapter_model.safetensors', 'metrics.json'];

/** The demo; with `--kill` once more while its processes are killed, to show that the results are the same bytes. */
export async function demo(recipe: string | undefined, options: DemoOptions, terminal: Terminal): Promise<number> {
  const path = recipe ?? join(packageRoot(), RECIPE);
  if (options.kill) return killDemo(path, options, terminal);
  const { run } = await import('./run.ts');
  return run(path, { ...options, tag: [] }, terminal);
}

async function killDemo(recipe: string, options: DemoOptions, terminal: Terminal): Promise<number> {
  const kills = parseKills(options.kills);
  const { config, file } = loadConfigFile(recipe, { overrides: options.set });
  await runSetup({ ...setupNeeds(config), temporal: true }, terminal);
  const { releasedDigests, runDisturbed } = await import('../disturbed-run.ts');
  return untilCtrlC(async (signal) => {
    const following = { signal, ...(options.json ? { json: true } : {}) };
    terminal.err(`1 of 2: ${config.name}, its worker and trainer killed at ${kills} random moments`);
    const disturbed = await runDisturbed(config, { kills, ...following }, terminal);
    if (!disturbed) return EXIT.detached;
    terminal.err(`2 of 2: ${config.name}, undisturbed, in the store of this folder; what it has is reused`);
    const session = await openSession({ server: 'start' });
    try {
      const runId = await session.runs.start(config, { recipe: relative(process.cwd(), file) });
      const last = await followRun(() => session.runs.look(runId), terminal, following);
      if (signal.aborted || !last) return EXIT.detached;
      const digests = await releasedDigests(session.store, last.status);
      return report(disturbed, { runId, digests }, options, terminal);
    } finally {
      await session.close();
    }
  });
}

function parseKills(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= MAX_KILLS) return count;
  throw new SoftflowError('USAGE', `--kills ${oneLine(text, 20)}: expected a whole number from 1 to ${MAX_KILLS}.`);
}

function report(
  disturbed: DisturbedRun,
  undisturbed: Pick<DisturbedRun, 'runId' | 'digests'>,
  { json }: DemoOptions,
  terminal: Terminal,
): number {
  const files = COMPARED.map((file) => ({
    file,
    killed: disturbed.digests[file] ?? 'missing',
    undisturbed: undisturbed.digests[file] ?? 'none',
  }));
  const equal = files.every((row) => row.killed === row.undisturbed);
  const { kills } = disturbed;
  if (json) {
    const runs = { killed: disturbed.runId, undisturbed: undisturbed.runId };
    terminal.out(JSON.stringify({ event: 'compared', equal, kills, files, runs }));
    return equal && kills.length > 0 ? EXIT.ok : EXIT.failed;
  }
  terminal.out('');
  for (const [i, kill] of kills.entries())
    terminal.out(`kill ${i + 1}  ${kill.victims.padEnd(7)}  ${oneLine(`${kill.step}, ${kill.position}`, 100)}`);
  for (const row of files) {
    const same = row.killed === row.undisturbed;
    terminal.out(`${row.file}: ${same ? 'the same bytes' : terminal.paint.red('different bytes')}`);
    terminal.out(`  killed       ${row.killed}`);
    terminal.out(`  undisturbed  ${row.undisturbed}`);
  }
  terminal.out(verdict(equal, kills.length));
  return equal && kills.length > 0 ? EXIT.ok : EXIT.failed;
}

function verdict(equal: boolean, kills: number): string {
  if (kills === 0) return 'No kill hit: the run was too quick. Try a longer recipe.';
  const times = kills === 1 ? 'once' : `${kills} times`;
  return equal
    ? `Killed ${times}, and the results are the same bytes as those of the run that was left alone.`
    : 'The results differ. If this folder has results of another machine or build, try again in an empty folder; else run softflow doctor.';
}
