/** User data for cloud-init where the cloud itself does not set host name or key. */
import type { ServerSpec } from './contract.ts';

/** Parts the two documents; the text cannot stand in either of them at the beginning of a line by chance. */
const BOUNDARY = '==provisioning-user-data==';
/** So much of a user's own leaves room for a host key at every cloud. Bytes. */
const MAX_BESIDE_HOST_KEY = 14_000;

/**
 * A cloud-config that sets the host name, lets root in with the key and gives the host key, together with the user's own
 * data of whatever kind (script, cloud-config, …) where there is some.
 */
export function cloudInit(spec: ServerSpec, { rootKey }: { rootKey: boolean }): string {
  const key = rootKey ? (spec.ssh_public_key ?? null) : null;
  const config = [
    '#cloud-config',
    ...hostnameLines(spec.hostname),
    ...(key === null ? [] : keyLines(key)),
    ...hostKeyLines(spec.ssh_host_key),
    '',
  ].join('\n');
  if (!spec.user_data) return config;
  const part = (type: string, text: string) =>
    `--${BOUNDARY}\nContent-Type: ${type}\nMIME-Version: 1.0\n\n${text.replace(/\n?$/, '\n')}`;
  return [
    `Content-Type: multipart/mixed; boundary="${BOUNDARY}"\nMIME-Version: 1.0\n\n`,
    part('text/cloud-config', config),
    part(typeOf(spec.user_data), spec.user_data),
    `--${BOUNDARY}--\n`,
  ].join('');
}

/** The host key alone, for a cloud that sets host name and key itself; null: there is none to give. */
export function hostKeyConfig({ ssh_host_key: key }: Pick<ServerSpec, 'ssh_host_key'>): string | null {
  return key ? ['#cloud-config', ...hostKeyLines(key), ''].join('\n') : null;
}

/**
 * Whether a host key can be given beside the user's own data: it must be of a kind that goes together with a cloud-config,
 * and not see to host keys itself.
 */
export function leavesHostKeys(userData: string | null): boolean {
  if (!userData) return true;
  if (Buffer.byteLength(userData) > MAX_BESIDE_HOST_KEY) return false;
  if (/^#(!|cloud-boothook)/.test(userData)) return true;
  return userData.startsWith('#cloud-config\n') && !/\bssh_(keys|deletekeys|genkeytypes)\b/.test(userData);
}

function hostnameLines(hostname: string): string[] {
  const text = JSON.stringify(hostname);
  return [`hostname: ${text}`, ...(hostname.includes('.') ? [`fqdn: ${text}`] : []), 'preserve_hostname: false'];
}

function keyLines(key: string): string[] {
  return [
    'disable_root: false',
    'users:',
    '  - default',
    '  - name: root',
    `    ssh_authorized_keys: [${JSON.stringify(key)}]`,
  ];
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

/** By its first line, as cloud-init itself tells. */
function typeOf(userData: string): string {
  if (userData.startsWith('#!')) return 'text/x-shellscript';
  if (userData.startsWith('#include')) return 'text/x-include-url';
  if (userData.startsWith('#cloud-boothook')) return 'text/cloud-boothook';
  return 'text/cloud-config';
}
