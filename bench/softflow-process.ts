import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Precision } from '../activities/contracts.ts';
import type { Answer, Request } from './side.ts';
import { runPipeline, SoftflowBench } from './softflow-bench.ts';
import type { PipelineWork } from './work.ts';

/** softflow's side as a process: `softflow-process.js <work.json> <f32|bf16> [pipeline]`. */
const [workFile, precision, only] = process.argv.slice(2) as [string, Precision, string | undefined];
const work = JSON.parse(readFileSync(workFile, 'utf8')) as PipelineWork;
const bench = only === 'pipeline' ? undefined : await SoftflowBench.open(work, precision);

async function answer(request: Request): Promise<Omit<Answer, 'peakRssBytes'>> {
  if (request.do === 'pipeline') return runPipeline(work, precision);
  if (bench === undefined) throw new RangeError('Expected `pipeline`: this process has no model of its own');
  switch (request.do) {
    case 'loss':
      return bench.loss(request.first);
    case 'trainStep':
      return bench.trainStep(request.first, request.steps);
    case 'generate':
      return bench.generate(request.prompts);
    case 'encode':
      return bench.encode();
    case 'matmulRate':
      return bench.matmulRate(request.tokens);
  }
}

function say(measured: object): void {
  process.stdout.write(`${JSON.stringify({ ...measured, peakRssBytes: process.resourceUsage().maxRSS * 1024 })}\n`);
}

say({ seconds: 0 });
for await (const line of createInterface({ input: process.stdin })) {
  try {
    say(await answer(JSON.parse(line) as Request));
  } catch (error) {
    say({ error: (error as Error).stack });
  }
}
