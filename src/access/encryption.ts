import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';

/** Encrypts short texts that must rest in the database unreadable. */
export interface Encryption {
  /** @param context what the text belongs to, such as `ssh key of default`: it opens only for the same. */
  encrypt(text: string, context?: string): string;
  /** @throws when it was made with another key or for another context, or changed. */
  decrypt(encrypted: string, context?: string): string;
  /**
   * Tells whether two texts are the same without giving either away: whoever lacks the key cannot try guesses.
   * @param context what the text is; the same text has another digest elsewhere.
   */
  digest(text: string | Buffer, context: string): Buffer;
}

const IV_BYTES = 12;
const TAG_BYTES = 16;

/** AES-256-GCM under a key derived from the secret, which must have 32 bytes of chance or more. */
export function createEncryption(secret: string): Encryption {
  const key = Buffer.from(hkdfSync('sha256', secret, '', 'provisioning seal v1', 32));
  const digestKey = Buffer.from(hkdfSync('sha256', secret, '', 'provisioning digest v1', 32));
  return {
    encrypt(text, context = '') {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(context));
      const encrypted = Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
      return encrypted.toString('base64');
    },
    decrypt(encrypted, context = '') {
      const bytes = Buffer.from(encrypted, 'base64');
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
      decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(-TAG_BYTES));
      return Buffer.concat([decipher.update(bytes.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()]).toString('utf8');
    },
    digest: (text, context) => createHmac('sha256', digestKey).update(`${context}\0`).update(text).digest(),
  };
}
