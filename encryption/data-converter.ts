import { fileURLToPath } from 'node:url';
import type { DataConverter } from '@temporalio/common';
import { encryptionKeys } from './keys.ts';
import { EncryptionCodec } from './payload-codec.ts';

/** Has a failure's message and stack pass the codec; also part of the workflows' bundle when payloads are encrypted. */
const FAILURE_CONVERTER = fileURLToPath(new URL('./failure-converter.cjs', import.meta.url));

/**
 * How clients and workers write and read payloads: encrypted where the environment names keys.
 *
 * @throws SoftflowError `ENCRYPTION_KEYS_INVALID`
 */
export function dataConverter(env: Record<string, string | undefined> = process.env): DataConverter {
  const keys = encryptionKeys(env);
  return {
    payloadCodecs: [new EncryptionCodec(keys)],
    ...(keys.length > 0 ? { failureConverterPath: FAILURE_CONVERTER } : {}),
  };
}
