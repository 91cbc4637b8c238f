/** Whether a request carries the signature (AWS Signature Version 4) that its key makes of it. */
import { createHash, createHmac } from 'node:crypto';
import type { FakeRequest } from './fake.ts';

/** How far a signature's time may be from now. Milliseconds. */
const MAX_SKEW_MS = 300_000;

interface Signer {
  keyId: string;
  region: string;
  service: string;
}

/**
 * @param secretOf the secret of a key by its id; undefined: there is no such key.
 * @returns who signed it, or what is wrong with it.
 */
export function verifySignature(
  { method, path, query, headers, text }: FakeRequest,
  secretOf: (keyId: string) => string | undefined,
): Signer | 'missing' | 'expired' | 'invalid' {
  const given = /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
    headers.authorization ?? '',
  );
  if (given === null) return 'missing';
  const [, credential = '', signedHeaders = '', signature] = given;
  const [keyId = '', day = '', region = '', service = '', end] = credential.split('/');
  const secret = secretOf(keyId);
  const time = String(headers['x-amz-date'] ?? '');
  const names = signedHeaders.split(';');
  if (secret === undefined || end !== 'aws4_request' || !time.startsWith(day)) return 'invalid';
  if (!names.includes('host') || !names.includes('x-amz-date')) return 'invalid';
  const at = Date.parse(time.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  if (!(Math.abs(Date.now() - at) <= MAX_SKEW_MS)) return 'expired';
  const canonical = [
    method,
    path,
    [...query]
      .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
      .toSorted()
      .join('&'),
    ...names.map(
      (name) =>
        `${name}:${String(headers[name] ?? '')
          .trim()
          .replace(/ +/g, ' ')}`,
    ),
    '',
    signedHeaders,
    sha256(text),
  ].join('\n');
  const scope = [day, region, service, 'aws4_request'];
  const key = scope.reduce<Buffer | string>((from, part) => hmac(from, part), `AWS4${secret}`);
  const wanted = hmac(key, ['AWS4-HMAC-SHA256', time, scope.join('/'), sha256(canonical)].join('\n')).toString('hex');
  return wanted === signature ? { keyId, region, service } : 'invalid';
}

function encoded(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (each) => `%${each.charCodeAt(0).toString(16).toUpperCase()}`);
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function hmac(key: Buffer | string, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
