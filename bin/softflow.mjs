#!/usr/bin/env node
// The softflow command. In a clone it first brings dist/ up to date with the sources; an installed package is built already.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(
    `softflow needs Node.js 20.19 or later, found ${process.version}. Install a current version from nodejs.org.`,
  );
  process.exit(1);
}
if (existsSync(new URL('../tsconfig.json', import.meta.url))) {
  const { buildIfStale } = await import('./build.mjs');
  try {
    buildIfStale(fileURLToPath(new URL('..', import.meta.url)));
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
await import('../dist/cli/main.js');
