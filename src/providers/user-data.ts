/** What a user gives for cloud-init, read as cloud-init would read it, so that every cloud can be given the same. */
import { gunzipSync } from 'node:zlib';

/** User data that is compressed is no longer than this when it is unpacked. Bytes. */
const MAX_UNPACKED = 1_048_576;

/** What cloud-init knows the kind of a text by: handlers/__init__.py, INCLUSION_TYPES_MAP. */
const MARKERS = [
  '#!',
  '#cloud-config',
  '#cloud-config-archive',
  '#cloud-config-jsonp',
  '#cloud-boothook',
  '#include',
  '#include-once',
  '#part-handler',
  '## template: jinja',
];
/** The first line of a document with headers, as cloud-init's make-mime and most mail libraries write it. */
const HEADER = /^(From |(Content-[A-Za-z-]+|MIME-Version|Number-Attachments|Merge-Type):)/i;
/** Beyond it cloud-init mistakes characters of a MIME document for others. */
const ASCII = /^[\t\r\n\x20-\x7e]*$/;

/** `part`: one text of whatever kind, which cloud-init tells by its first line; `mime`: a whole document with headers. */
export interface UserData {
  form: 'part' | 'mime';
  text: string;
}

/**
 * Reads what the user gave: text, or in base64 what is no text (compressed with gzip, …). A byte order mark and lines
 * that are empty before its first one are taken off: they would hide from cloud-init what it is.
 * @returns null where it is empty; words that say what is wrong.
 */
export function readUserData(given: string | null | undefined): UserData | null | { problem: string } {
  if (!given) return null;
  const text = readText(given);
  if (typeof text !== 'string') return text;
  const begun = text.replace(/^\ufeff/, '').trimStart();
  if (begun === '') return null;
  if (HEADER.test(begun)) return readMime(begun);
  const start = begun.slice(0, 64).toLowerCase();
  if (MARKERS.some((marker) => start.startsWith(marker))) return { form: 'part', text: begun };
  return {
    problem: `cloud-init would ignore it, because it begins with none of ${MARKERS.join(', ')} and is no MIME document. ${hint(begun)}`,
  };
}

function hint(text: string): string {
  if (/^https?:\/\//.test(text)) return 'Write "#include" in a line before the address.';
  if (/^[A-Za-z_"'{-]+.*:/.test(text)) return 'Write "#cloud-config" as the first line of a cloud-config.';
  return 'Write "#!/bin/sh" as the first line of a script.';
}

/** The text of what was given, unpacked, whatever reads it; words where it is none. */
export function readText(given: string): string | { problem: string } {
  if (given.includes('\ufffd')) {
    return {
      problem: 'it has characters that were lost on the way (U+FFFD): give it as UTF-8, or its bytes in base64.',
    };
  }
  const text = inBase64(given) ?? given;
  if (typeof text !== 'string') return text;
  if (text.includes('\0')) return { problem: 'it has a NUL character, so it is no text: give its bytes in base64.' };
  return text;
}

/** What base64 holds; null where it is none of something that is user data. */
function inBase64(given: string): string | { problem: string } | null {
  const packed = given.replace(/\s+/g, '');
  if (packed.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(packed)) return null;
  const bytes = Buffer.from(packed, 'base64');
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(unpack(bytes));
  } catch (error) {
    const long = error instanceof RangeError;
    const why = long ? `more than ${MAX_UNPACKED} bytes when it is unpacked` : 'neither text in UTF-8 nor gzip of it';
    return { problem: `it is base64 of ${why}.` };
  }
}

/** @throws where it is broken, or too long. */
function unpack(bytes: Buffer): Buffer {
  return bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes, { maxOutputLength: MAX_UNPACKED }) : bytes;
}

function readMime(text: string): UserData | { problem: string } {
  // A line that mailboxes have before the headers.
  const document = text.replace(/^From .*\r?\n/, '');
  if (ASCII.test(document)) return { form: 'mime', text: document };
  return {
    problem:
      'it is a MIME document with characters that are not ASCII, which cloud-init would garble: encode its parts in base64, as "cloud-init devel make-mime" does.',
  };
}
