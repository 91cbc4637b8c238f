/** One-time passwords by time (RFC 6238), as authenticator apps make them: SHA-1, 6 digits, 30 seconds. */
import { randomInt } from 'node:crypto';
import { Secret, TOTP } from 'otpauth';

/** As apps show it. */
const ISSUER = 'Provisioning';
/** 160 bits, as RFC 4226 recommends. */
const SECRET_BYTES = 20;
/** Periods before and after the present one that are taken: clocks differ, and typing takes time. */
const WINDOW = 1;
/** Without letters and digits that are taken for each other. 10 characters are 49 bits. */
const RECOVERY_ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789';
const RECOVERY_CODES = 10;

/** In base32. */
export function newTotpSecret(): string {
  return new Secret({ size: SECRET_BYTES }).base32;
}

function totpOf(secret: string, username = ''): TOTP {
  return new TOTP({ issuer: ISSUER, label: username, secret: Secret.fromBase32(secret) });
}

/** What an app reads, often as a QR code. */
export function otpauthUrl(secret: string, username: string): string {
  return totpOf(secret, username).toString();
}

/** The period (30 seconds since 1970, counted) that the code is of; null: it is no right one now. @param at milliseconds. */
export function periodOf(secret: string, code: string, at: number): number | null {
  const totp = totpOf(secret);
  const delta = totp.validate({ token: code, timestamp: at, window: WINDOW });
  return delta === null ? null : totp.counter({ timestamp: at }) + delta;
}

/** Each is good for one login without the app. */
export function newRecoveryCodes(): string[] {
  const five = () => Array.from({ length: 5 }, () => RECOVERY_ALPHABET[randomInt(RECOVERY_ALPHABET.length)]).join('');
  return Array.from({ length: RECOVERY_CODES }, () => `${five()}-${five()}`);
}

/** However it was typed. */
export function canonicalCode(code: string): string {
  return code.replaceAll(/[\s-]/g, '').toLowerCase();
}
