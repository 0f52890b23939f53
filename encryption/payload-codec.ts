import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { Payload, PayloadCodec } from '@temporalio/common';
import proto from '@temporalio/proto';
import { SoftflowError } from '../errors.ts';
import { type EncryptionKey, KEYS_VARIABLE } from './keys.ts';

const CIPHER = 'aes-256-gcm';
/** The layout that the encryption samples of Temporal's SDKs share, so that a codec in another language reads it too. */
const ENCODING = 'binary/encrypted';
const KEY_ID = 'encryption-key-id';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

const { Payload: PayloadMessage } = proto.temporal.api.common.v1;
const text = (bytes: Uint8Array | null | undefined) => Buffer.from(bytes ?? []).toString('utf8');

/**
 * AES-256-GCM over whole payloads, metadata included. The first key encrypts, and every key decrypts what names it, so a
 * key is changed by putting a new one in front and taking the old one away once nothing names it. Payloads in clear pass,
 * so that what began before encryption goes on; without any key nothing is encrypted, and what is encrypted is refused.
 */
export class EncryptionCodec implements PayloadCodec {
  readonly #keys: readonly EncryptionKey[];

  constructor(keys: readonly EncryptionKey[]) {
    this.#keys = keys;
  }

  async encode(payloads: Payload[]): Promise<Payload[]> {
    const [key] = this.#keys;
    return key ? payloads.map((payload) => encrypt(payload, key)) : payloads;
  }

  /** @throws SoftflowError `ENCRYPTION_KEY_MISSING`, `PAYLOAD_UNREADABLE` */
  async decode(payloads: Payload[]): Promise<Payload[]> {
    return payloads.map((payload) => (isEncrypted(payload) ? this.#decrypt(payload) : payload));
  }

  #decrypt({ metadata, data }: Payload): Payload {
    const id = text(metadata?.[KEY_ID]);
    const key = this.#keys.find((candidate) => candidate.id === id);
    if (!key) throw missing(id, this.#keys);
    try {
      const bytes = Buffer.from(data ?? []);
      const decipher = createDecipheriv(CIPHER, key.bytes, bytes.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
      const clear = Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
      return PayloadMessage.decode(clear);
    } catch {
      throw new SoftflowError(
        'PAYLOAD_UNREADABLE',
        `A payload of the Temporal server names the key "${id}", and that key does not open it: the key under this id is ` +
          `another one, or the payload was changed. Give "${id}" in ${KEYS_VARIABLE} the key that it had.`,
        { details: { key: id } },
      );
    }
  }
}

export const isEncrypted = ({ metadata }: Payload): boolean => text(metadata?.['encoding']) === ENCODING;

function encrypt(payload: Payload, { id, bytes }: EncryptionKey): Payload {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, bytes, nonce, { authTagLength: TAG_BYTES });
  const clear = PayloadMessage.encode(payload).finish();
  const data = Buffer.concat([nonce, cipher.update(clear), cipher.final(), cipher.getAuthTag()]);
  return { metadata: { encoding: Buffer.from(ENCODING), [KEY_ID]: Buffer.from(id) }, data };
}

function missing(id: string, keys: readonly EncryptionKey[]): SoftflowError {
  const there =
    keys.length > 0 ? `${KEYS_VARIABLE} has ${keys.map((key) => key.id).join(', ')}` : `${KEYS_VARIABLE} is not set`;
  return new SoftflowError(
    'ENCRYPTION_KEY_MISSING',
    `A payload of the Temporal server is encrypted with the key "${id.slice(0, 64)}", and ${there}. Add that key and start again.`,
    { details: { key: id.slice(0, 64) } },
  );
}
