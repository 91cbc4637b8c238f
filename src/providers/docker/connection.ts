import { accessSync, constants, statSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type Docker from 'dockerode';
import { requirePackage } from '../../root.ts';
import { ProviderError } from '../contract.ts';

/** Where an engine listens when nobody says otherwise: Docker first, then Podman run by root. */
export const USUAL_SOCKETS: readonly string[] = ['/var/run/docker.sock', '/run/podman/podman.sock', '/run/podman.sock'];

/** An engine and how to speak of it in messages. */
export interface Engine {
  /** Loads the library when it is first asked for: a start does without it. */
  readonly docker: Docker;
  /** The address without user names, passwords or query. */
  address: string;
  close(): void;
}

/**
 * The engine's address: `configured` as it is when it says something, else the first of `sockets` that may be used,
 * else the first that is there at all (so that the later "permission denied" names it), else null. Opens nothing.
 */
export function detectDockerHost(configured?: string, sockets: readonly string[] = USUAL_SOCKETS): string | null {
  if (configured) return configured;
  const present = sockets.filter(isSocket);
  const chosen = present.find(mayUse) ?? present[0];
  return chosen === undefined ? null : `unix://${chosen}`;
}

/**
 * Prepares calls to the engine at `host` (`unix://`, `npipe://`, `tcp://`, `http://`, `https://` or a socket's path).
 * Opens no connection. For TLS with client certificates the usual DOCKER_HOST, DOCKER_CERT_PATH and DOCKER_TLS_VERIFY apply.
 *
 * @throws ProviderError INVALID_REQUEST when `host` is no such address.
 */
export function connect(host: string): Engine {
  const target = parseHost(host);
  // One keep-alive pool of our own: closing the provider closes its connections and nobody else's.
  const agent =
    target.protocol === 'https' ? new https.Agent({ keepAlive: true }) : new http.Agent({ keepAlive: true });
  const { address, ...options } = { ...target, agent };
  let opened: Docker | undefined;
  return {
    get docker() {
      opened ??= new (requirePackage('dockerode') as typeof Docker)(options);
      return opened;
    },
    address,
    close: () => agent.destroy(),
  };
}

interface Target {
  address: string;
  protocol: 'http' | 'https';
  // All three are always passed: what is left out, dockerode takes from the DOCKER_HOST variable instead.
  socketPath: string | undefined;
  host: string | undefined;
  port: string | undefined;
}

function parseHost(host: string): Target {
  const socketPath = /^(?:unix:\/\/|npipe:\/\/)?(\/.+)$/.exec(host)?.[1];
  if (socketPath) return { address: host, protocol: 'http', socketPath, host: undefined, port: undefined };

  const url = URL.canParse(host) ? new URL(host) : null;
  if (!url || !['tcp:', 'http:', 'https:'].includes(url.protocol) || url.hostname === '') {
    throw new ProviderError(
      'INVALID_REQUEST',
      'The address of the container engine is not understood. Use unix:///path/to/the.sock, tcp://host:2375 or https://host:2376.',
      { retryable: false, details: { scheme: url?.protocol ?? null } },
    );
  }
  // 2376 is Docker's registered port for TLS; its own client decides in the same way.
  const secure = url.protocol === 'https:' || url.port === '2376';
  return {
    address: `${url.protocol}//${url.host}`,
    protocol: secure ? 'https' : 'http',
    socketPath: undefined,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port || (secure ? '2376' : '2375'),
  };
}

function isSocket(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;
}

function mayUse(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
