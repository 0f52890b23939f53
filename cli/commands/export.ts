import { relative } from 'node:path';
import type { BackendChoice } from '../../workers/backend-choices.ts';
import { EXIT } from '../exit-codes.ts';
import { type ExportFormat, type ExportVerification, exportRun } from '../export-run.ts';
import { openJobView } from '../job-view.ts';
import { openStoredRuns } from '../session.ts';
import { prepareTools } from '../setup-run.ts';
import { oneLine, type Terminal } from '../terminal.ts';

export interface ExportCommandOptions {
  format: ExportFormat;
  output: string;
  verify?: boolean;
  k: number;
  backend: BackendChoice;
  json?: boolean;
}

/** Formats that need the model to be computed with. */
const COMPUTED: ReadonlySet<ExportFormat> = new Set(['merged', 'topk']);

export async function exportResults(name: string, options: ExportCommandOptions, terminal: Terminal): Promise<number> {
  const { runs, store } = await openStoredRuns();
  const runId = await runs.find(name);
  const { format, output: folder, verify = false, k } = options;
  const backend = COMPUTED.has(format)
    ? await prepareTools(await runs.config(runId), options.backend, terminal)
    : options.backend;
  const view = openJobView(terminal, options);
  try {
    const { onProgress, signal } = view;
    const result = await exportRun({ store, runId, format, folder, verify, k, backend, onProgress, signal });
    view.end();
    if (options.json) terminal.out(JSON.stringify(result, null, 2));
    else {
      terminal.out(`${relative(process.cwd(), result.folder) || '.'}: ${format} of ${runId}`);
      for (const file of result.files) terminal.out(`  ${oneLine(file, 200)}`);
      if (result.verified) terminal.out(verification(result.verified));
    }
    return EXIT.ok;
  } finally {
    view.end();
  }
}

function verification({ files, logits }: ExportVerification): string {
  const bytes = `verified: ${files} files read back are the bytes of the store`;
  if (!logits) return bytes;
  const { maxLogitDifference, maxLogit, prompts } = logits;
  return `${bytes}\nverified: max |logit difference| ${maxLogitDifference.toExponential(1)} on ${prompts} prompts (largest logit ${maxLogit.toPrecision(3)}), base + adapter against the model loaded back: OK`;
}
