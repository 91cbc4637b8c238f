/** TLS of the server's own: a certificate from files, which changes while the server runs when the files change. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import { createSecureContext, type SecureContextOptions, type TLSSocket } from 'node:tls';
import type { FastifyServerFactory } from 'fastify';
import type { Logger } from 'pino';
import { type Config, ConfigError } from '../config.ts';
import { startRounds } from '../util/rounds.ts';

type TlsSettings = NonNullable<Config['tls']>;

/** Between two looks at the files. Kubernetes and cert-manager swap links, ACME clients rename: only reading shows all. */
const LOOK_MS = 2_000;
/** From the connection to the end of its handshake: as long as a whole request may take. Milliseconds. */
const HANDSHAKE_MS = 30_000;
/** With TLS 1.2 only what has forward secrecy and authenticates what it encrypts, as Mozilla's "intermediate" has it. */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** What the files held at one moment. */
interface Files {
  certificate: string;
  key: string;
  clientCa: string | null;
}

/** The TLS of one process. */
export interface ServerTls {
  /** Makes the listening servers, each with the certificate of the moment. */
  serverFactory: FastifyServerFactory;
  /** When the certificate in use ends, and why the files as they are now cannot be used (null: they are in use). */
  state(): { expiresAt: Date; problem: string | null };
  stop(): Promise<void>;
}

/** Reads the files and goes on looking at them. @throws ConfigError where they cannot be used at the start. */
export async function openTls(
  settings: TlsSettings,
  logger: Pick<Logger, 'info' | 'warn' | 'error'>,
): Promise<ServerTls> {
  const servers: Server[] = [];
  let current: Files;
  let leaf: X509Certificate;
  try {
    current = await read(settings);
    leaf = check(current, settings);
  } catch (error) {
    throw new ConfigError(describe(error, settings));
  }
  if (Date.parse(leaf.validTo) < Date.now()) {
    logger.warn(`the TLS certificate in ${settings.certificateFile} ended on ${leaf.validTo}: clients will refuse it`);
  }

  /** What could not be used at the last look, and whether it has been told. Files that change may be met half way. */
  let failing: { files: string; told: boolean; problem: string } | null = null;
  const fail = (files: string, error: unknown) => {
    const problem = describe(error, settings);
    const again = failing?.files === files && failing.problem === problem;
    if (again && failing?.told === false) {
      logger.error(`${problem} The previous certificate stays in use; it ends on ${leaf.validTo}.`);
    }
    failing = { files, problem, told: again };
  };
  const look = async () => {
    let found: Files | null = null;
    try {
      found = await read(settings);
      if (isSame(found, current)) {
        failing = null;
        return;
      }
      const certificate = check(found, settings);
      for (const server of servers) server.setSecureContext(contextOf(found, settings));
      leaf = certificate;
      current = found;
      failing = null;
      logger.info(`the TLS files have changed and are in use; the certificate ends on ${leaf.validTo}`);
    } catch (error) {
      fail(JSON.stringify(found), error);
    }
  };
  const rounds = startRounds(LOOK_MS, look);

  return {
    serverFactory(handler, options) {
      const server = createServer(
        {
          ...contextOf(current, settings),
          requestCert: settings.clientCertificates !== 'none',
          rejectUnauthorized: settings.clientCertificates === 'required',
          handshakeTimeout: HANDSHAKE_MS,
          requireHostHeader: false,
        },
        handler,
      );
      server.requestTimeout = Number(options.requestTimeout);
      server.keepAliveTimeout = Number(options.keepAliveTimeout);
      // Where a handshake has failed, nothing can be answered: not by the handler of what is no HTTP either.
      server.prependListener('tlsClientError', (_error, socket) => socket.destroy());
      if (settings.clientCertificates === 'optional') server.prependListener('secureConnection', refuseUnverified);
      servers.push(server);
      return server;
    },
    state: () => ({ expiresAt: new Date(leaf.validTo), problem: failing?.told === true ? failing.problem : null }),
    stop: rounds.stop,
  };
}

/** A client may come without a certificate, but not with one that nobody vouches for. */
function refuseUnverified(socket: TLSSocket): void {
  if (!socket.authorized && socket.getPeerX509Certificate() !== undefined) socket.destroy();
}

async function read({ certificateFile, keyFile, clientCaFile }: TlsSettings): Promise<Files> {
  const [certificate, key, clientCa] = await Promise.all([
    readFile(certificateFile, 'utf8'),
    readFile(keyFile, 'utf8'),
    clientCaFile === null ? null : readFile(clientCaFile, 'utf8'),
  ]);
  return { certificate, key, clientCa };
}

function isSame(a: Files, b: Files): boolean {
  return a.certificate === b.certificate && a.key === b.key && a.clientCa === b.clientCa;
}

function contextOf({ certificate, key, clientCa }: Files, { minVersion }: TlsSettings): SecureContextOptions {
  return { cert: certificate, key, minVersion, ciphers: CIPHERS, ...(clientCa === null ? {} : { ca: clientCa }) };
}

/** @returns the server's own certificate. @throws where the files do not fit each other or cannot be used. */
function check(files: Files, settings: TlsSettings): X509Certificate {
  createSecureContext(contextOf(files, settings));
  const leaf = new X509Certificate(files.certificate);
  // OpenSSL takes an empty key, and one of another kind than the certificate, and then fails every handshake.
  if (!leaf.checkPrivateKey(createPrivateKey(files.key))) throw new Error('the key is not the one of the certificate');
  // Node takes a file without a certificate for none, and would then believe every public authority.
  if (files.clientCa !== null) {
    const authorities = files.clientCa.match(PEM_CERTIFICATE) ?? [];
    if (authorities.length === 0) throw new Error(`${settings.clientCaFile} holds no certificate`);
    for (const pem of authorities) new X509Certificate(pem);
  }
  return leaf;
}

function describe(error: unknown, { certificateFile, keyFile }: TlsSettings): string {
  const reason = error instanceof Error ? error.message : String(error);
  return `TLS cannot be set up from ${certificateFile} and ${keyFile}: ${reason}. Both must be PEM and belong together, the key without a passphrase.`;
}
