/** How lines of the audit log reach a file, a syslog server or an HTTP endpoint. Each resolves when they have arrived. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import { connect as connectTcp, type Socket } from 'node:net';
import { hostname } from 'node:os';
import { connect as connectTls } from 'node:tls';
import type { AuditLine } from '../documents/audit-chain.ts';
import type { AuditDestination } from './audit-destination.ts';

type Webhook = Extract<AuditDestination, { kind: 'webhook' }>;

/** For one batch, from the first look at a name to the last answer. Milliseconds. */
const DELIVERY_MS = 15_000;
/** RFC 5424: log audit. */
const FACILITY = 13;
const SEVERITIES: Record<string, number> = { allowed: 6, denied: 4, failed: 3 };
/** What is no row is a notice. */
const NOTICE = 5;
/** Bytes of a UDP datagram that reach most receivers whole, in fragments. */
const MAX_DATAGRAM = 8_192;
/** Within this, and the time that connecting took, a server that closes without reading has shown it. Milliseconds. */
const EARLY_END_MS = 200;
/** So far back the end of the last whole line is looked for in one piece. Bytes. */
const PIECE = 65_536;

/** Delivers the lines, in their order. @throws where they may not all have arrived: they are then sent again. */
export async function deliverAudit(destination: AuditDestination, lines: readonly AuditLine[]): Promise<void> {
  switch (destination.kind) {
    case 'file':
      return appendTo(destination.file, lines);
    case 'webhook':
      return post(destination, lines);
    case 'syslog':
      return destination.transport === 'udp' ? sendDatagrams(destination, lines) : sendStream(destination, lines);
  }
}

const text = (lines: readonly AuditLine[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join('');

/** Opened anew for each batch, so that it may be rotated. It is on the disk when this resolves. */
async function appendTo(file: string, lines: readonly AuditLine[]): Promise<void> {
  const handle = await open(file, 'a+', 0o600);
  try {
    await dropTornLine(handle);
    await handle.appendFile(text(lines));
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

/** What a crash left of a line goes: the whole line is about to be written. */
async function dropTornLine(handle: FileHandle): Promise<void> {
  const { size } = await handle.stat();
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - PIECE);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(end - start), 0, end - start, start);
    const newline = buffer.subarray(0, bytesRead).lastIndexOf('\n');
    if (newline >= 0 || start === 0) {
      const whole = start + newline + 1;
      if (whole < size) await handle.truncate(whole);
      return;
    }
    end = start;
  }
}

async function post({ name, url, token }: Webhook, lines: readonly AuditLine[]): Promise<void> {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-ndjson',
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
    },
    body: text(lines),
    redirect: 'error',
    signal: AbortSignal.timeout(DELIVERY_MS),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`${name} answered with status ${response.status}`);
}

interface SyslogServer {
  transport: 'udp' | 'tcp' | 'tls';
  host: string;
  port: number;
}

/** RFC 5424, with the line as its message. */
function syslogMessage(line: AuditLine): string {
  const severity = line.kind === 'row' ? (SEVERITIES[line.outcome] ?? NOTICE) : NOTICE;
  const host =
    hostname()
      .replaceAll(/[^\x21-\x7e]/g, '')
      .slice(0, 255) || '-';
  // The mark says that the message is UTF-8.
  return `<${FACILITY * 8 + severity}>1 ${line.at} ${host} provisioning - ${line.kind === 'row' ? 'audit' : line.kind} - \ufeff${JSON.stringify(line)}`;
}

/**
 * With octets counted (RFC 6587, RFC 5425). Nothing in syslog acknowledges a message. The connection ends with the batch, and
 * that the other end closes it after us, and without a reset, says that it has read all: one that has not sends a reset.
 * One that closes before us has perhaps read nothing, as a load balancer without a server behind it.
 */
async function sendStream({ transport, host, port }: SyslogServer, lines: readonly AuditLine[]): Promise<void> {
  const messages = lines.map((line) => {
    const message = syslogMessage(line);
    return `${Buffer.byteLength(message)} ${message}`;
  });
  const begun = performance.now();
  const socket: Socket =
    transport === 'tls'
      ? connectTls({ host, port, servername: host, minVersion: 'TLSv1.2' })
      : connectTcp({ host, port });
  const late = setTimeout(
    () => socket.destroy(new Error(`no end of the connection within ${DELIVERY_MS / 1_000} s`)),
    DELIVERY_MS,
  );
  let early: NodeJS.Timeout | undefined;
  let ended = false;
  socket.once('end', () => {
    if (!ended) socket.destroy(new Error('it closed the connection before it can have read everything'));
  });
  socket.once(transport === 'tls' ? 'secureConnect' : 'connect', () => {
    const connecting = performance.now() - begun;
    socket.resume().write(messages.join(''), () => {
      early = setTimeout(
        () =>
          socket.end(() => {
            ended = true;
          }),
        EARLY_END_MS + connecting,
      );
    });
  });
  try {
    await once(socket, 'close');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`${host} port ${port}: ${reason}`, { cause: error });
  } finally {
    clearTimeout(late);
    clearTimeout(early);
    socket.destroy();
  }
}

/** Nothing tells whether a datagram arrives: for networks that lose none. */
async function sendDatagrams({ host, port }: SyslogServer, lines: readonly AuditLine[]): Promise<void> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  const { promise: refused, reject } = Promise.withResolvers<never>();
  // Nobody listens there: it is told at any moment while the socket is open.
  socket.on('error', reject);
  const send = async () => {
    socket.connect(port, host);
    await once(socket, 'connect');
    for (const line of lines) {
      await new Promise<void>((resolve, fail) => {
        socket.send(fitting(line), (error) => (error === null ? resolve() : fail(error)));
      });
    }
  };
  try {
    await Promise.race([send(), refused]);
  } finally {
    socket.close();
  }
}

/** A row that is too large goes without its details; its hash stays. */
function fitting(line: AuditLine): string {
  const message = syslogMessage(line);
  if (line.kind !== 'row' || Buffer.byteLength(message) <= MAX_DATAGRAM) return message;
  return syslogMessage({ ...line, details: { shortened: true }, sealed: '' });
}
