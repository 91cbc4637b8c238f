/** User data for cloud-init where the cloud itself does not set host name or key. */
import type { ServerSpec } from './contract.ts';

/** Parts the two documents; the text cannot stand in either of them at the beginning of a line by chance. */
const BOUNDARY = '==provisioning-user-data==';

/**
 * A cloud-config that sets the host name and lets root in with the key, together with the user's own data of whatever
 * kind (script, cloud-config, …) where there is some.
 */
export function cloudInit(spec: ServerSpec, { rootKey }: { rootKey: boolean }): string {
  const key = rootKey ? (spec.ssh_public_key ?? null) : null;
  const config = ['#cloud-config', ...hostnameLines(spec.hostname), ...(key === null ? [] : keyLines(key)), ''].join(
    '\n',
  );
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

/** By its first line, as cloud-init itself tells. */
function typeOf(userData: string): string {
  if (userData.startsWith('#!')) return 'text/x-shellscript';
  if (userData.startsWith('#include')) return 'text/x-include-url';
  if (userData.startsWith('#cloud-boothook')) return 'text/cloud-boothook';
  return 'text/cloud-config';
}
