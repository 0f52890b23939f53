import { generateKeyPairSync, randomBytes } from 'node:crypto';
import forge from 'node-forge';

/** A certificate and its key, both PEM. */
export interface Certified {
  cert: string;
  key: string;
}

export interface CertificateOptions {
  /** What it is for: names and addresses of a server. */
  names?: readonly string[];
  /** Who signs; itself when left out, as an authority. */
  issuer?: Certified;
  /** In days from now. */
  validFrom?: number;
  validTo?: number;
}

const DAY_MS = 86_400_000;

/** A throwaway certificate of an authority, a server or a client. */
export function certificate(
  commonName: string,
  { names = [], issuer, validFrom = -1, validTo = 1 }: CertificateOptions = {},
): Certified {
  const keys = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  });
  const made = forge.pki.createCertificate();
  made.publicKey = forge.pki.publicKeyFromPem(keys.publicKey);
  // A first byte of 01 keeps the number positive without padding: DER refuses a zero that is not needed.
  made.serialNumber = `01${randomBytes(8).toString('hex')}`;
  made.validity.notBefore = new Date(Date.now() + validFrom * DAY_MS);
  made.validity.notAfter = new Date(Date.now() + validTo * DAY_MS);
  made.setSubject([{ name: 'commonName', value: commonName }]);
  made.setIssuer(
    issuer ? forge.pki.certificateFromPem(issuer.cert).subject.attributes : [{ name: 'commonName', value: commonName }],
  );
  made.setExtensions([
    { name: 'basicConstraints', cA: issuer === undefined, critical: true },
    ...(names.length > 0 ? [{ name: 'subjectAltName', altNames: names.map(altName) }] : []),
  ]);
  made.sign(forge.pki.privateKeyFromPem(issuer?.key ?? keys.privateKey), forge.md.sha256.create());
  return { cert: forge.pki.certificateToPem(made), key: keys.privateKey };
}

/** The numbers are those of RFC 5280: 7 is an address, 2 a name. */
const altName = (name: string) => (/^[\d.]+$/.test(name) ? { type: 7, ip: name } : { type: 2, value: name });
