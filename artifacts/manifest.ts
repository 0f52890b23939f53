import { z } from 'zod';
import { SoftflowError } from '../errors.ts';
import { type ArtifactRef, ArtifactRefSchema, DigestSchema } from './artifact-ref.ts';

/** The proof that a step is done: what it was, what it took, what it made. Holds no time, host, path or attempt. */
export const ManifestSchema = z.strictObject({
  version: z.literal(1),
  /** Name of the activity. */
  step: z.string().min(1),
  contractVersion: z.int().nonnegative(),
  /** The step key, under which the manifest is kept. */
  key: DigestSchema,
  /** Digest of each input by role. */
  inputs: z.record(z.string(), DigestSchema),
  params: z.json(),
  /** Artifacts by role, all of them in `blobs/`. */
  outputs: z.record(
    z.string(),
    ArtifactRefSchema.refine((ref) => ref.uri.startsWith('blobs/'), 'outputs must be in blobs/'),
  ),
  /** Small numbers and words that go to the workflow. */
  result: z.json(),
  /** Backend, versions, threads: results are byte for byte the same where these are. */
  fingerprint: z.record(z.string(), z.string()),
});

export interface Manifest extends Omit<z.infer<typeof ManifestSchema>, 'params' | 'result'> {
  params: unknown;
  result: unknown;
}

/** @throws SoftflowError `MANIFEST_INVALID`, `STORE_MISSING` when an output is not in the store */
export async function requireManifest(
  store: { has(ref: ArtifactRef): Promise<boolean> },
  key: string,
  manifest: Manifest,
): Promise<void> {
  const parsed = ManifestSchema.safeParse(manifest);
  if (!parsed.success || manifest.key !== key) {
    const fault = parsed.success ? `key: expected ${key}, found ${manifest.key}` : z.prettifyError(parsed.error);
    throw new SoftflowError('MANIFEST_INVALID', `Manifest of step key ${key}: ${fault}`, { details: { key } });
  }
  for (const [role, ref] of Object.entries(manifest.outputs)) {
    if (await store.has(ref)) continue;
    const message = `Manifest of ${manifest.step} (${key}): output ${role} (${ref.uri}, ${ref.bytes} bytes) is not in the store. Put it there first.`;
    throw new SoftflowError('STORE_MISSING', message, { details: { key, role, artifact: ref.uri } });
  }
}
