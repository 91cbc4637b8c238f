/** Where the audit log is exported to, as a setting says it. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export type AuditDestination = {
  /** The setting as it was given: how far the log has been exported is remembered for it. */
  name: string;
} & (
  | { kind: 'file'; file: string }
  | { kind: 'syslog'; transport: 'udp' | 'tcp' | 'tls'; host: string; port: number }
  | { kind: 'webhook'; url: string; token: string | null }
);

/** RFC 5426 (UDP), RFC 6587 (TCP: what rsyslog takes by default) and RFC 5425 (TLS). */
const SYSLOG_PORTS = { udp: 514, tcp: 601, tls: 6514 };
const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];

/** @throws Error saying what is wrong with it. */
export function readAuditDestination(text: string, token: string | null): AuditDestination {
  if (!URL.canParse(text)) throw new Error('it is not a URL');
  const url = new URL(text);
  const name = url.href;
  if (url.username !== '' || url.password !== '') {
    throw new Error('a URL with a user name or password is shown in the log; use PROVISIONING_AUDIT_EXPORT_TOKEN');
  }
  const transport = /^syslog\+(udp|tcp|tls):$/.exec(url.protocol)?.[1] as keyof typeof SYSLOG_PORTS | undefined;
  if (transport !== undefined) {
    if (url.hostname === '') throw new Error('it names no host');
    const host = url.hostname.replace(/^\[|\]$/g, '');
    return { name, kind: 'syslog', transport, host, port: Number(url.port || SYSLOG_PORTS[transport]) };
  }
  if (url.protocol === 'file:') return { name, kind: 'file', file: path.resolve(fileURLToPath(url)) };
  if (url.protocol === 'https:' || (url.protocol === 'http:' && LOOPBACK.includes(url.hostname))) {
    return { name, kind: 'webhook', url: name, token };
  }
  throw new Error('it must begin with file://, syslog+udp://, syslog+tcp://, syslog+tls:// or https://');
}
