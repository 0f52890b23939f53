// Which folder may import which: the arrows of ARCHITECTURE.md, checked on the sources' import statements. Biome's
// noImportCycles checks for cycles.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** Folder -> what it may import of ours. A value ending in `.ts` is one file; `types:` allows `import type` only. */
const ALLOWED = {
  cli: [
    'client',
    'workflows/run-config.ts',
    'workflows/run-state.ts',
    'workflows/duration.ts',
    'datasets',
    'workers',
    'encryption',
    'report',
    'artifacts',
    'setup',
    'telemetry',
    'ui',
    'types:workflows',
    'types:activities',
  ],
  client: ['workflows', 'artifacts', 'encryption', 'telemetry', 'types:activities'],
  workflows: ['types:activities', 'types:artifacts'],
  activities: ['model', 'datasets', 'artifacts', 'report'],
  workers: [
    'activities',
    'model',
    'artifacts',
    'setup',
    'encryption',
    'client/connect.ts',
    'client/tls-probe.ts',
    'telemetry',
    'sinks',
    'workflows/task-queues.ts',
    'workflows/attribute-names.ts',
    'workflows/trace-headers.ts',
    'types:datasets',
  ],
  encryption: [],
  sinks: ['workflows/run-state.ts', 'types:activities', 'types:artifacts', 'types:workflows'],
  telemetry: ['setup', 'workflows/run-state.ts', 'types:activities', 'types:workflows'],
  report: ['artifacts', 'datasets/schemas.ts'],
  ui: ['client', 'artifacts', 'report', 'types:workflows', 'types:activities'],
  model: [],
  datasets: [],
  artifacts: [],
  setup: [],
};

/** Packages that only some folders may import: the tensor library and Temporal. */
const PACKAGES = [
  { pattern: /^@tensorflow\//, folders: ['model'] },
  {
    pattern: /^@temporalio\//,
    folders: ['activities', 'cli', 'client', 'encryption', 'workers', 'workflows', 'setup'],
  },
];

const IMPORT =
  /(?:^|\n)\s*(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

/**
 * One line for each import that points the wrong way.
 *
 * @param {string} root folder of the sources
 * @returns {string[]}
 */
export function checkImports(root) {
  return Object.keys(ALLOWED).flatMap((folder) =>
    typescriptFiles(join(root, folder)).flatMap((file) => {
      const path = relative(root, file);
      return importsOf(readFileSync(file, 'utf8'))
        .filter(({ specifier, typeOnly }) => !isAllowed(folder, path, specifier, typeOnly))
        .map(({ specifier }) => `${path}: must not import ${specifier} (${folder}/ may import ${describe(folder)})`);
    }),
  );
}

function typescriptFiles(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

/** Import statements of a source text, comments left out. */
export function importsOf(text) {
  const code = text.replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, '');
  return [...code.matchAll(IMPORT)].map((match) => ({
    specifier: match[2] ?? match[3],
    typeOnly: match[1] !== undefined,
  }));
}

function isAllowed(folder, path, specifier, typeOnly) {
  if (!specifier.startsWith('.')) {
    const rule = PACKAGES.find(({ pattern }) => pattern.test(specifier));
    return !rule || typeOnly || rule.folders.includes(folder);
  }
  const target = join(dirname(path), specifier);
  if (target === 'errors.ts' || target.startsWith(`${folder}/`)) return true;
  return ALLOWED[folder].some((entry) => {
    if (entry.startsWith('types:')) return typeOnly && target.startsWith(`${entry.slice('types:'.length)}/`);
    return entry.endsWith('.ts') ? target === entry : target.startsWith(`${entry}/`);
  });
}

function describe(folder) {
  return ['errors.ts', ...ALLOWED[folder]].join(', ');
}
