import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';

/** A key pair. The private part is never logged, and leaves only encrypted. */
export interface SshKeyPair {
  /** `ssh-ed25519 AAAA… comment`. */
  publicKey: string;
  /** OpenSSH or PEM, without a passphrase. */
  privateKey: string;
}

/** Smallest RSA key that is taken. Bits. */
const MIN_RSA_BITS = 2_048;

const TYPE = 'ssh-ed25519';
/** What the private part is padded to a multiple of, also where it is not encrypted. Bytes. */
const BLOCK = 8;
const PEM_WIDTH = 70;

/**
 * A new ed25519 key pair, written in OpenSSH's own form (openssh-key-v1). Not by ssh2's generator: it drops leading
 * zeros, and one key in some 300 then opens nothing.
 */
export function generateSshKey(comment: string): SshKeyPair {
  const jwk = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  const bytes = (text: string | undefined) => Buffer.from(text ?? '', 'base64url');
  const [publicBytes, seed] = [bytes(jwk.x), bytes(jwk.d)];
  const blob = Buffer.concat([field(TYPE), field(publicBytes)]);
  const check = randomBytes(4);
  const secret = Buffer.concat([
    ...[check, check, blob],
    ...[field(Buffer.concat([seed, publicBytes])), field(comment)],
  ]);
  const padding = Buffer.from(Array.from({ length: (BLOCK - (secret.length % BLOCK)) % BLOCK }, (_, at) => at + 1));
  const file = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    ...[field('none'), field('none'), field('')],
    ...[Buffer.from([0, 0, 0, 1]), field(blob), field(Buffer.concat([secret, padding]))],
  ]);
  const lines = file.toString('base64').match(new RegExp(`.{1,${PEM_WIDTH}}`, 'g')) ?? [];
  return {
    publicKey: `${TYPE} ${blob.toString('base64')} ${comment}`,
    privateKey: ['-----BEGIN OPENSSH PRIVATE KEY-----', ...lines, '-----END OPENSSH PRIVATE KEY-----', ''].join('\n'),
  };
}

/** As SSH writes bytes: behind their length. */
function field(content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/**
 * Reads a private key in OpenSSH or PEM form.
 * @throws Error saying what is wrong with it and what would be right. Never repeats the key.
 */
export async function readSshKey(privateKey: string, comment: string): Promise<SshKeyPair> {
  const { default: ssh2 } = await import('ssh2');
  const parsed = ssh2.utils.parseKey(privateKey);
  if (parsed instanceof Error) {
    const protectedKey = /passphrase|encrypted/i.test(parsed.message);
    throw new Error(
      protectedKey
        ? 'is protected by a passphrase; give it without one (ssh-keygen -p -N "" -f a-copy-of-the-key)'
        : 'is no private key in OpenSSH or PEM form',
    );
  }
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  if (key === undefined || !key.isPrivateKey()) throw new Error('is a public key; the private key is needed');
  const blob = key.getPublicSSH();
  if (key.type === 'ssh-rsa' && rsaBits(blob) < MIN_RSA_BITS) {
    throw new Error(`is an RSA key of fewer than ${MIN_RSA_BITS} bits; use ed25519 (ssh-keygen -t ed25519)`);
  }
  return { publicKey: `${key.type} ${blob.toString('base64')} ${comment}`, privateKey };
}

/** The blob is a list of fields behind their lengths: type, exponent, modulus. */
function rsaBits(blob: Buffer): number {
  const skip = (at: number) => at + 4 + blob.readUInt32BE(at);
  const at = skip(skip(0));
  const modulus = blob.subarray(at + 4, skip(at));
  return (modulus[0] === 0 ? modulus.length - 1 : modulus.length) * 8;
}

/** `SHA256:…`, as ssh-keygen -l shows it. */
export function fingerprintOf(publicKey: string): string {
  const blob = Buffer.from(publicKey.split(' ')[1] ?? '', 'base64');
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
}

/**
 * A public key as it is kept: `type base64`, without options or a comment.
 * @throws Error saying what would be right.
 */
export function readHostKey(text: string): string {
  const [type = '', blob = ''] = text.trim().split(/\s+/);
  const bytes = Buffer.from(blob, 'base64');
  const inside = bytes.length > 4 ? bytes.toString('latin1', 4, 4 + bytes.readUInt32BE(0)) : '';
  if (type === '' || inside !== type) {
    throw new Error('is no public host key; it looks like "ssh-ed25519 AAAA…" (ssh-keyscan HOST shows it)');
  }
  return `${type} ${blob}`;
}
