// npm run audit: known advisories of what softflow runs with. Exit codes: 0 none that is high or critical, 1 some, 2 the
// registry offers no audit, which is no answer.
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const GRAVE = ['high', 'critical'];

/** The lines and the exit code that belong to what `npm audit --json` printed. */
export function auditResult(text) {
  const report = parse(text);
  if (!report?.vulnerabilities)
    return {
      code: 2,
      lines: [`Not audited: ${firstLine(report?.message ?? report?.error?.summary ?? 'npm gave no report')}`],
    };
  const found = Object.values(report.vulnerabilities).filter(({ severity }) => GRAVE.includes(severity));
  const lines = found.map(({ name, severity, via }) => {
    const titles = via.map((one) => (typeof one === 'string' ? one : `${one.title} (${one.url})`));
    return `${severity} ${name}: ${titles.join('; ')}`;
  });
  return { code: found.length > 0 ? 1 : 0, lines: [...lines, `${found.length} high or critical advisories`] };
}

const firstLine = (text) => String(text).split('\n')[0];

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const args = ['audit', '--omit=dev', '--json'];
  const { stdout } = spawnSync('npm', args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 64 * 2 ** 20 });
  const { code, lines } = auditResult(stdout);
  for (const line of lines) console.log(line);
  process.exitCode = code;
}
