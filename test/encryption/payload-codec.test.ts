import { createCipheriv } from 'node:crypto';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import { temporal } from '@temporalio/proto';
import { describe, expect, it } from 'vitest';
import { EncryptionCodec, isEncrypted } from '../../encryption/payload-codec.ts';

const key = (id: string, fill: number) => ({ id, bytes: Buffer.alloc(32, fill) });
const OLD = key('old', 1);
const NEW = key('new', 2);
const VALUE = { title: 'Dr. No', lambda: 0.25 };
const clear = () => defaultPayloadConverter.toPayload(VALUE) as Payload;
const read = (payload: Payload | undefined) => defaultPayloadConverter.fromPayload(payload as Payload);

async function sealed(codec: EncryptionCodec): Promise<Payload> {
  return (await codec.encode([clear()]))[0] as Payload;
}

describe('the codec of payloads', () => {
  it('encrypts metadata and data, differently every time, and gives them back', async () => {
    const codec = new EncryptionCodec([NEW]);
    const [a, b] = [await sealed(codec), await sealed(codec)];
    expect(isEncrypted(a)).toBe(true);
    expect(Buffer.from(a.data as Uint8Array).toString('latin1')).not.toMatch(/Dr\. No|json/);
    expect(Buffer.from(a.data as Uint8Array)).not.toEqual(Buffer.from(b.data as Uint8Array));
    expect((await codec.decode([a, b])).map(read)).toEqual([VALUE, VALUE]);
  });

  it('rotates: the first key encrypts, each decrypts its own, an old one can be taken away later (S6)', async () => {
    const before = await sealed(new EncryptionCodec([OLD]));
    const both = new EncryptionCodec([NEW, OLD]);
    const after = await sealed(both);
    expect(Buffer.from(after.metadata?.['encryption-key-id'] as Uint8Array).toString()).toBe('new');
    expect((await both.decode([before, after])).map(read)).toEqual([VALUE, VALUE]);
    const [again] = await new EncryptionCodec([NEW]).decode([after]);
    expect(read(again)).toEqual(VALUE);
    await expect(new EncryptionCodec([NEW]).decode([before])).rejects.toMatchObject({
      code: 'ENCRYPTION_KEY_MISSING',
      message: expect.stringMatching(/"old".*has new/),
    });
  });

  it('leaves what is in clear alone, and without keys refuses what is encrypted (S6)', async () => {
    const none = new EncryptionCodec([]);
    expect(await none.encode([clear()])).toEqual([clear()]);
    expect((await new EncryptionCodec([NEW]).decode([clear()])).map(read)).toEqual([VALUE]);
    await expect(none.decode([await sealed(new EncryptionCodec([NEW]))])).rejects.toMatchObject({
      code: 'ENCRYPTION_KEY_MISSING',
      message: expect.stringContaining('is not set'),
    });
  });

  it('says so when the key of that name is another, or a byte was changed, and gives nothing (S6)', async () => {
    const payload = await sealed(new EncryptionCodec([NEW]));
    const other = new EncryptionCodec([key('new', 3)]);
    await expect(other.decode([payload])).rejects.toMatchObject({ code: 'PAYLOAD_UNREADABLE' });
    const codec = new EncryptionCodec([NEW]);
    const data = Buffer.from(payload.data as Uint8Array);
    for (let at = 0; at < data.length; at++) {
      const changed = Buffer.from(data);
      changed[at] = (changed[at] as number) ^ 1;
      await expect(codec.decode([{ ...payload, data: changed }])).rejects.toMatchObject({ code: 'PAYLOAD_UNREADABLE' });
    }
    for (const length of [0, 11, 27, data.length - 1])
      await expect(codec.decode([{ ...payload, data: data.subarray(0, length) }])).rejects.toMatchObject({
        code: 'PAYLOAD_UNREADABLE',
      });
  });

  it('reads what the samples of other SDKs write: nonce, ciphertext and tag of a serialised payload', async () => {
    const nonce = Buffer.alloc(12, 5);
    const cipher = createCipheriv('aes-256-gcm', NEW.bytes, nonce);
    const bytes = temporal.api.common.v1.Payload.encode(clear()).finish();
    const data = Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
    const metadata = { encoding: Buffer.from('binary/encrypted'), 'encryption-key-id': Buffer.from('new') };
    expect((await new EncryptionCodec([NEW]).decode([{ metadata, data }])).map(read)).toEqual([VALUE]);
  });
});
