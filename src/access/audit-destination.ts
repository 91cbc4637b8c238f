/** Where the audit log is exported to, as a setting says it. */
import { createHmac } from 'node:crypto';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export type AuditDestination = {
  /** For logs: without the path and the query of a webhook, which may hold a secret. */
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
  if (url.username !== '' || url.password !== '') {
    throw new Error('a URL with a user name or password is shown in the log; use PROVISIONING_AUDIT_EXPORT_TOKEN');
  }
  const transport = /^syslog\+(udp|tcp|tls):$/.exec(url.protocol)?.[1] as keyof typeof SYSLOG_PORTS | undefined;
  if (transport !== undefined) {
    if (url.hostname === '') throw new Error('it names no host');
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const port = Number(url.port || SYSLOG_PORTS[transport]);
    return { name: `${url.protocol}//${url.hostname}:${port}`, kind: 'syslog', transport, host, port };
  }
  if (url.protocol === 'file:') {
    const file = path.resolve(fileURLToPath(url));
    return { name: `file://${file}`, kind: 'file', file };
  }
  if (url.protocol === 'https:' || (url.protocol === 'http:' && LOOPBACK.includes(url.hostname))) {
    return { name: url.origin, kind: 'webhook', url: url.href, token };
  }
  throw new Error('it must begin with file://, syslog+udp://, syslog+tcp://, syslog+tls:// or https://');
}

/** By what is remembered how far the log has been exported there: tells all destinations apart, and tells no secret. */
export function destinationId(destination: AuditDestination, key: Buffer): string {
  if (destination.kind !== 'webhook') return destination.name;
  const digest = createHmac('sha256', key).update(`audit destination\n${destination.url}`).digest('hex');
  return `${destination.name} (${digest.slice(0, 16)})`;
}
