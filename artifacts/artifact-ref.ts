import { z } from 'zod';

/** A SHA-256 in lower-case hex: the name of a blob, and of a step. */
export const DigestSchema = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hex digits');

/**
 * What crosses a step's border instead of the data itself.
 *
 * `uri` is the blob's place below the store's root: `blobs/<sha256>` for artifacts,
 * `checkpoints/<step key>/blobs/<sha256>` for checkpoints, which live only as long as their step is unfinished.
 */
export const ArtifactRefSchema = z
  .strictObject({
    uri: z.string().regex(/^(?:checkpoints\/[0-9a-f]{64}\/)?blobs\/[0-9a-f]{64}$/, 'expected blobs/<sha256>'),
    sha256: DigestSchema,
    bytes: z.int().nonnegative(),
    /** Rows of a table. */
    rows: z.int().nonnegative().optional(),
    /** Name of the table's or tensor file's schema. */
    schema: z.string().min(1).optional(),
  })
  .refine((ref) => ref.uri.endsWith(`/${ref.sha256}`), 'uri must end in the sha256');

export type ArtifactRef = z.infer<typeof ArtifactRefSchema>;
