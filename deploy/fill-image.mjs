// Lays out what the image holds: node deploy/fill-image.mjs <folder> <cpu|cuda|none> <model|none>. The command and its
// build go to <folder>/softflow; TensorFlow with its addon, and a model, into the cache that SOFTFLOW_CACHE names.
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

const [folder, tensorflow = 'none', model = 'none'] = process.argv.slice(2);
if (!folder || !['cpu', 'cuda', 'none'].includes(tensorflow)) {
  console.error('Usage: node deploy/fill-image.mjs <folder> <cpu|cuda|none> <model|none>');
  process.exit(2);
}
const setup = (name) => import(join(ROOT, 'dist', 'setup', name));
const { workflowBundle } = await import(join(ROOT, 'dist', 'workers', 'workflow-bundle.js'));
// Kept beside the built workflows, so that a worker with a read-only file system starts at once.
await workflowBundle();
mkdirSync(process.env.SOFTFLOW_CACHE ?? join(folder, 'cache'), { recursive: true });
if (tensorflow !== 'none') await (await setup('tensorflow.js')).ensureTensorflow({ gpu: tensorflow === 'cuda' });
if (model !== 'none') await (await setup('model-source.js')).ensureModel({ registry: model });
const { files } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const copied = files.filter((file) => !file.startsWith('!') && !file.includes('*') && existsSync(join(ROOT, file)));
for (const file of [...copied, 'package.json', 'LICENSE'])
  cpSync(join(ROOT, file), join(folder, 'softflow', file), { recursive: true });
