import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, parseAllDocuments } from 'yaml';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const DEPLOY = join(ROOT, 'deploy');
export const MANIFESTS = join(DEPLOY, 'kubernetes', 'base');

export interface Service {
  image?: string;
  command?: string[];
  user?: string;
  read_only?: boolean;
  environment?: Record<string, string>;
  ports?: string[];
  volumes?: string[];
  stop_grace_period?: string;
  healthcheck?: { test: string[] };
}

export function composeServices(): Record<string, Service> {
  const text = readFileSync(join(DEPLOY, 'compose.yaml'), 'utf8');
  return (parse(text, { merge: true }) as { services: Record<string, Service> }).services;
}

export interface Manifest {
  file: string;
  kind: string;
  metadata: { name: string };
  // biome-ignore lint/suspicious/noExplicitAny: every kind has a shape of its own; the schema test checks them.
  spec: any;
  data?: Record<string, string>;
}

export function manifests(): Manifest[] {
  return readdirSync(MANIFESTS)
    .filter((file) => file !== 'kustomization.yaml')
    .flatMap((file) =>
      parseAllDocuments(readFileSync(join(MANIFESTS, file), 'utf8')).map((document) => ({ file, ...document.toJS() })),
    );
}

export const containerfile = (): string => readFileSync(join(DEPLOY, 'Containerfile'), 'utf8');

/** The version of the Temporal server that is deployed. */
export const temporalVersion = (): string => composeServices()['temporal']?.image?.split(':')[1] ?? '';
