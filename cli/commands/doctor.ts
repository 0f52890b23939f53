import {
  BACKENDS,
  backendCheck,
  type Check,
  diskCheck,
  hasFault,
  judgeSetup,
  nodeCheck,
  temporalCheck,
} from '../doctor.ts';
import { EXIT } from '../exit-codes.ts';
import { sanitize, type Terminal } from '../terminal.ts';

/** Looks at everything a run needs; every check is made, whatever the others find. */
export async function doctor(options: { json?: boolean }, terminal: Terminal): Promise<number> {
  const checks: Check[] = [];
  const report = (check: Check) => {
    checks.push(check);
    if (!options.json) printCheck(check, terminal);
  };
  report(nodeCheck());
  const { probeSetup } = await import('../../setup/index.ts');
  for (const check of judgeSetup(await probeSetup())) if (check.name !== 'Node.js') report(check);
  report(await diskCheck('.softflow'));
  report(await temporalCheck());
  for (const backend of BACKENDS) report(await backendCheck(backend));
  const ok = !hasFault(checks);
  if (options.json) terminal.out(JSON.stringify({ ok, checks }, null, 2));
  else terminal.out(ok ? 'No trouble found.' : 'Trouble found: see the lines marked with x.');
  return ok ? EXIT.ok : EXIT.failed;
}

const MARKS: Record<Check['state'], string> = { ok: '+', later: '-', warning: '!', fault: 'x', 'not tried': '?' };

function printCheck({ name, state, found, advice }: Check, { out, paint }: Terminal): void {
  const color = { ok: paint.green, later: paint.dim, warning: paint.yellow, fault: paint.red, 'not tried': paint.dim }[
    state
  ];
  out(`${color(MARKS[state])} ${name.padEnd(22)} ${sanitize(found)}`);
  if (advice) out(`  ${' '.repeat(22)} ${sanitize(advice)}`);
}
