/**
 * Backups that only the holder of a key can open, in the format of age (age-encryption.org/v1): `age` and its
 * hardware plug-ins make the keys, and `age --decrypt` opens the files as well.
 */
import { createReadStream } from 'node:fs';
import { text } from 'node:stream/consumers';
import { BackupError, damaged } from './errors.ts';

const HEADER = Buffer.from('age-encryption.org/v1\n');
/** Read of a file of keys at most. */
const MAX_IDENTITY_BYTES = 64 * 1024;

type Bytes = AsyncIterable<Uint8Array>;

/**
 * Encrypts a stream.
 * @param recipients public keys, `age1…`; whoever holds the secret key of one of them can open it.
 * @throws BackupError where one of them is no such key; it is not told, for it may be a secret given by mistake.
 */
export async function encryptTo(recipients: readonly string[]): Promise<(source: Bytes) => Bytes> {
  // Not earlier: few need it, and it takes long to load.
  const { Encrypter } = await import('age-encryption');
  const encrypter = new Encrypter();
  for (const [n, recipient] of recipients.entries()) {
    try {
      encrypter.addRecipient(recipient);
    } catch {
      throw new BackupError(
        `Recipient ${n + 1} is not an age public key. Public keys begin with "age1"; "age-keygen" prints the public key of a new key.`,
      );
    }
  }
  return async function* encrypted(source) {
    yield* await encrypter.encrypt(ReadableStream.from(source));
  };
}

/**
 * The secret keys in a file as `age-keygen` makes it, `AGE-SECRET-KEY-…` a line.
 * @throws BackupError where it cannot be read or holds something else.
 */
export async function readIdentities(file: string): Promise<string[]> {
  // A pipe as well: what `age --decrypt` prints.
  const content = await text(createReadStream(file, { end: MAX_IDENTITY_BYTES })).catch((error: Error) => {
    throw new BackupError(`${file} cannot be read: ${error.message}`);
  });
  if (content.startsWith('age-encryption.org/') || content.startsWith('-----BEGIN AGE')) {
    throw new BackupError(
      `${file} is encrypted. Decrypt it first: age --decrypt ${file} | provisioning restore … --identity /dev/stdin`,
    );
  }
  const lines = content.split('\n').map((line) => line.trim());
  const identities = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (identities.length === 0 || !identities.every((line) => /^AGE-SECRET-KEY-[0-9A-Z-]+$/.test(line))) {
    throw new BackupError(`${file} contains no age secret key, which begins with "AGE-SECRET-KEY-".`);
  }
  return identities;
}

/**
 * Opens a stream that is encrypted, and passes on one that is not.
 * @param file what messages call it.
 * @throws BackupError where none of the keys opens it.
 */
export function decryptWith(file: string, identities: readonly string[]): (source: Bytes) => Bytes {
  return async function* decrypted(source) {
    const { isEncrypted, bytes } = await lookAhead(source);
    if (!isEncrypted) {
      yield* bytes;
      return;
    }
    if (identities.length === 0) {
      throw new BackupError(`${file} is encrypted. Give the file with the secret key: --identity FILE`);
    }
    const { Decrypter } = await import('age-encryption');
    const decrypter = new Decrypter();
    try {
      for (const identity of identities) decrypter.addIdentity(identity);
    } catch {
      throw new BackupError('A secret key in the --identity file is damaged.');
    }
    // Its own errors name neither the file nor what to do; those of reading pass.
    let opened = false;
    try {
      const plain = await decrypter.decrypt(ReadableStream.from(bytes));
      opened = true;
      yield* plain;
    } catch (error) {
      if (error instanceof Error && 'code' in error) throw error;
      if (!opened && error instanceof Error && error.message.startsWith('no identity matched')) {
        throw new BackupError(`${file} is encrypted for other keys than those in the --identity file.`);
      }
      throw damaged(file);
    }
  };
}

/** Whether a stream begins as age's do, and the whole of it. */
async function lookAhead(source: Bytes): Promise<{ isEncrypted: boolean; bytes: Bytes }> {
  const chunks = source[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < HEADER.length) {
    const { value, done } = await chunks.next();
    if (done === true) break;
    head = Buffer.concat([head, value]);
  }
  const whole = async function* () {
    yield head;
    yield* { [Symbol.asyncIterator]: () => chunks };
  };
  return { isEncrypted: head.subarray(0, HEADER.length).equals(HEADER), bytes: whole() };
}
