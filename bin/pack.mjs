#!/usr/bin/env node
// Makes the package, softflow-<version>.tgz: builds dist/, bundles the workflows, so that no worker has to, and packs. `npm run pack
// [-- <options of npm pack>]`. Not a hook of `npm pack`, because hooks do not run where install scripts are off, as they are here.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildIfStale } from './build.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

buildIfStale(ROOT);
const bundle = await import(pathToFileURL(join(ROOT, 'dist', 'workers', 'workflow-bundle.js')).href);
await bundle.workflowBundle();
const npm = process.env.npm_execpath?.endsWith('.js') ? [process.execPath, process.env.npm_execpath] : ['npm'];
const args = [...npm.slice(1), 'pack', '--ignore-scripts', ...process.argv.slice(2)];
const { status, error } = spawnSync(npm[0], args, { cwd: ROOT, stdio: 'inherit' });
if (error) console.error(`npm pack could not be started: ${error.message}`);
process.exitCode = status ?? 1;
