/** Secrets and signatures as Standard Webhooks 1.0 has them (symmetric, `v1`). */
import { createHmac, randomBytes } from 'node:crypto';

const PREFIX = 'whsec_';
const GENERATED_BYTES = 32;
/** What the standard asks for. */
const MIN_BYTES = 24;
const MAX_BYTES = 64;

/** A fresh secret: `whsec_` and 32 random bytes in base64. */
export function newSecret(): string {
  return `${PREFIX}${randomBytes(GENERATED_BYTES).toString('base64')}`;
}

/** Whether the text is `whsec_` and 24 to 64 bytes in base64. */
export function isSecret(text: string): boolean {
  const encoded = text.slice(PREFIX.length);
  const bytes = Buffer.from(encoded, 'base64');
  // Not what merely decodes: both ends must read the same key from it.
  return (
    text.startsWith(PREFIX) &&
    bytes.toString('base64') === encoded &&
    bytes.length >= MIN_BYTES &&
    bytes.length <= MAX_BYTES
  );
}

/**
 * The headers that prove where a body comes from and when it was sent.
 * @param secrets one, or two while the receiver changes over: either signature is good.
 */
export function signedHeaders(id: string, body: string, secrets: readonly string[], now: Date): Record<string, string> {
  const timestamp = String(Math.floor(now.getTime() / 1_000));
  const signatures = secrets.map((secret) => {
    const key = Buffer.from(secret.slice(PREFIX.length), 'base64');
    return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
  });
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') };
}
