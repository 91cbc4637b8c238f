/** User data for cloud-init: the user's own, and beside it what we set. The same on every cloud. */
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { ProviderError, type ServerSpec } from './contract.ts';
import { readUserData, type UserData } from './user-data.ts';

/** So much of a user's own leaves room for a host key at every cloud. Bytes as they are sent. */
const MAX_BESIDE_HOST_KEY = 14_000;
/** RFC 5322: a line of a message is no longer. */
const MAX_LINE = 998;
/** base64 in lines of this length. */
const BASE64_LINE = /.{1,76}/g;

export interface CloudInitOptions {
  /** Whether root is let in with the key by cloud-init, because the cloud itself does not. */
  rootKey: boolean;
  /** The most that the cloud takes. Bytes. */
  limit: number;
  /** How its servers take what is compressed: as it is, in base64, or not at all. */
  compressed: 'gzip' | 'base64' | null;
}

/**
 * A cloud-config that sets the host name, lets root in with the key and gives the host key, after the user's own data of
 * whatever kind (script, cloud-config, …) where there is some. It comes last: host name and host key are these, and the key
 * comes to the user's own files, so that the user's `users` and `disable_root` are not lost. A script sees to the key once more,
 * where no merging reaches it. What is longer than the limit is compressed where that helps.
 * @throws ProviderError INVALID_REQUEST where the user's own is none that cloud-init knows.
 */
export function cloudInit(spec: ServerSpec, { rootKey, limit, compressed }: CloudInitOptions): Buffer {
  const own = readUserData(spec.user_data);
  if (own !== null && 'problem' in own) {
    throw new ProviderError('INVALID_REQUEST', `The user data cannot be used: ${own.problem}`, { retryable: false });
  }
  const key = rootKey && spec.ssh_public_key ? spec.ssh_public_key.trim() : null;
  const names = [...hostnameLines(spec.hostname), ...hostKeyLines(spec.ssh_host_key)];
  const document = Buffer.from(
    own === null && key === null
      ? configOf(names)
      : compose([
          ...(own === null ? [] : [partOf(own)]),
          textPart(configOf(names)),
          ...(key === null
            ? []
            : [textPart(configOf([ADDING, ...keyLines(key)])), textPart(keyScript(key), KEY_SCRIPT)]),
        ]),
  );
  if (compressed === null || document.length <= limit) return document;
  const packed = gzipSync(document, { level: 9 });
  return compressed === 'gzip' ? packed : Buffer.from(packed.toString('base64'));
}

/** Scripts run in the order of their names: before `part-001` and the like, which the user's own may be, and `runcmd`. */
const KEY_SCRIPT = '00-provisioning-root-key';

/** In place of replacing what stands under the same name, as a cloud-config otherwise does. */
const ADDING = 'merge_how: "dict(no_replace,recurse_list)+list(append)"';

function configOf(lines: readonly string[]): string {
  return ['#cloud-config', ...lines, ''].join('\n');
}

/** The host key alone, for a cloud that sets host name and key itself; null: there is none to give. */
export function hostKeyConfig({ ssh_host_key: key }: Pick<ServerSpec, 'ssh_host_key'>): string | null {
  return key ? configOf(hostKeyLines(key)) : null;
}

/**
 * Whether a host key can be given beside the user's own data: it must be of a kind that goes together with a cloud-config,
 * and not see to host keys itself.
 */
export function leavesHostKeys(userData: string | null): boolean {
  const own = readUserData(userData);
  if (own === null) return true;
  if ('problem' in own || own.form === 'mime' || textPart(own.text).length > MAX_BESIDE_HOST_KEY) return false;
  if (/^#(!|cloud-boothook)/i.test(own.text)) return true;
  return /^#cloud-config\r?\n/.test(own.text) && !/\bssh_(keys|deletekeys|genkeytypes)\b/.test(own.text);
}

/** MIME parts as one document, under a boundary that stands in none of them. */
function compose(parts: readonly string[]): string {
  const digest = createHash('sha256').update(parts.join('')).digest('hex').slice(0, 24);
  const boundary = `==provisioning-${digest}==`;
  return [
    `Content-Type: multipart/mixed; boundary="${boundary}"\nMIME-Version: 1.0\n\n`,
    ...parts.map((part) => `--${boundary}\n${part}\n`),
    `--${boundary}--\n`,
  ].join('');
}

/** A document with headers becomes a part as it is: cloud-init looks into parts that have parts themselves. */
function partOf({ form, text }: UserData): string {
  return form === 'mime' ? text : textPart(text);
}

/** Of plain text cloud-init tells the kind by its first line. It takes characters beyond ASCII only in base64. */
function textPart(text: string, name?: string): string {
  const plain = /^[\t\n\x20-\x7e]*$/.test(text) && text.split('\n').every((line) => line.length <= MAX_LINE);
  const named = name === undefined ? '' : `Content-Disposition: attachment; filename="${name}"\n`;
  const type = `Content-Type: text/plain; charset="utf-8"\nMIME-Version: 1.0\n${named}`;
  return plain ? `${type}\n${text}` : `${type}${base64(Buffer.from(text))}`;
}

function base64(bytes: Buffer): string {
  return `Content-Transfer-Encoding: base64\n\n${bytes.toString('base64').match(BASE64_LINE)?.join('\n')}`;
}

function hostnameLines(hostname: string): string[] {
  const text = JSON.stringify(hostname);
  return [`hostname: ${text}`, ...(hostname.includes('.') ? [`fqdn: ${text}`] : []), 'preserve_hostname: false'];
}

/**
 * Written into root's file as it is. By `users` or `ssh_authorized_keys` it would take the user's own `users` away or
 * depend on `disable_root`, which makes each key that cloud-init sets there refuse.
 */
function keyLines(key: string): string[] {
  return [
    'write_files:',
    // The empty line ends a last line of the image's own file that has no end.
    '  - path: /root/.ssh/authorized_keys',
    `    content: ${JSON.stringify(`\n${key}\n`)}`,
    '    owner: root:root',
    '    permissions: "0600"',
    '    append: true',
  ];
}

/**
 * Root's file with the key in it as it is, and in no other line. The file that cloud-init writes early is not sure to stay: a
 * `write_files` of the user's that is no list keeps it away, the same key among the user's `ssh_authorized_keys` makes it refuse where
 * `disable_root` holds, as may a line of the image's own, and sshd goes by the first.
 */
function keyScript(key: string): string {
  const blob = key.split(/\s+/)[1] ?? key;
  return [
    '#!/bin/sh',
    'set -eu',
    'umask 077',
    'mkdir -p /root/.ssh',
    'file=/root/.ssh/authorized_keys',
    'touch "$file"',
    'draft=$(mktemp "$file.XXXXXX")',
    `printf '%s\\n' ${quoted(key)} >"$draft"`,
    // It answers 1 where there are no others.
    `grep -Ev ${quoted(`(^|[[:space:]])${blob.replace(/[^A-Za-z0-9/=]/g, '[$&]')}([[:space:]]|$)`)} "$file" >>"$draft" || [ $? -eq 1 ]`,
    'mv "$draft" "$file"',
    'if command -v restorecon >/dev/null; then restorecon -R /root/.ssh; fi',
    '',
  ].join('\n');
}

/** As one word of a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** cloud-init then makes no others, so that the server shows this one alone. */
function hostKeyLines(key: ServerSpec['ssh_host_key']): string[] {
  if (!key) return [];
  return [
    'ssh_deletekeys: true',
    'ssh_keys:',
    `  ed25519_private: ${JSON.stringify(key.private_key)}`,
    `  ed25519_public: ${JSON.stringify(key.public_key)}`,
  ];
}
