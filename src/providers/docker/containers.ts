import { createHash } from 'node:crypto';
import type { ContainerCreateOptions, ContainerInfo } from 'dockerode';
import {
  INSTALLATION_LABEL,
  OPERATION_LABEL,
  type Plan,
  type ProviderServer,
  type ProviderServerStatus,
  type ServerSpec,
  WORKSPACE_LABEL,
} from '../contract.ts';
import { labelOf, tagsOf } from '../labels.ts';

/** The only zone: the engine's own machine. */
export const ZONE = 'local';

// What a list of containers does not tell is kept in labels, so that one list call describes every server.
const HOSTNAME_LABEL = 'provisioning-hostname';
const PLAN_LABEL = 'provisioning-plan';
const ZONE_LABEL = 'provisioning-zone';
const TAG_LABEL_PREFIX = 'provisioning-tag.';

/**
 * What process 1 does: it lets the key in $1 in, starts the image's own sshd where there is one (with host keys of its
 * own) and the services that taskservs have installed, then stays and reaps what loses its parent. Runs again at each
 * start of the container, whoever started it.
 */
const INIT_SCRIPT = `
if [ -n "$1" ]; then
  home=$(getent passwd root 2>/dev/null | cut -d: -f6)
  keys=\${home:-/root}/.ssh/authorized_keys
  if ! grep -qsxF "$1" "$keys"; then
    (umask 077 && mkdir -p "\${keys%/*}" && printf '%s\\n' "$1" >>"$keys")
  fi
fi
if command -v sshd >/dev/null 2>&1; then
  mkdir -p /run/sshd
  ssh-keygen -A >/dev/null
  "$(command -v sshd)"
fi
services=/usr/local/lib/provisioning/start-services
if [ -x "$services" ]; then "$services"; fi
while :; do sleep 3600; done
`;

/**
 * The name of the operation's container. It depends on the operation, so that an engine, which knows no request
 * tokens, refuses a second one; workspace and hostname stand in it for the people who read `docker ps`.
 */
export function containerName(spec: ServerSpec, operationId: string): string {
  const readable = (part: string) =>
    part
      .toLowerCase()
      .replace(/[^a-z0-9_.-]+/g, '-')
      .replace(/^[^a-z0-9]+/, '');
  // A digest, since the first characters of time-ordered identifiers are the same for all made within a minute.
  const digest = createHash('sha256').update(operationId).digest('hex').slice(0, 12);
  return [readable(spec.workspace).slice(0, 40), readable(spec.hostname).slice(0, 63), digest]
    .filter(Boolean)
    .join('-');
}

/** What containers are made from. */
export interface Making {
  image: string;
  /** Value of the installation label; null: they get none. */
  installation: string | null;
  /** Whether `sudo` and other setuid programs work in them. */
  sudo: boolean;
}

/** Which operation makes the container, and for which installation; null: that is not told. */
interface Owner {
  operationId: string;
  installation: string | null;
}

/** Processes and threads of one server; a fork bomb ends there and not at the engine's machine. */
const MAX_PROCESSES = 4_096;
/**
 * Of what engines grant by default: device nodes, and packets in the name of others on the engine's network. No service of
 * the catalog, sshd or package manager needs them.
 */
const DROPPED_CAPABILITIES = ['MKNOD', 'NET_RAW'];

/** The body of the create request. @param sudo whether processes may gain privileges that they were not started with. */
export function containerBody(
  spec: ServerSpec,
  plan: Plan,
  { image, installation, sudo }: Making,
  operationId: string,
): ContainerCreateOptions {
  return {
    Image: image,
    Hostname: spec.hostname,
    // Servers are administered as root, whatever user the image was made for.
    User: '0',
    Entrypoint: ['/bin/sh'],
    Cmd: ['-c', INIT_SCRIPT, 'init', spec.ssh_public_key ?? ''],
    Labels: labels(spec, { operationId, installation }),
    // Process 1 has nothing to save: without these, each stop and removal waits ten seconds.
    StopSignal: 'SIGKILL',
    StopTimeout: 0,
    HostConfig: {
      NanoCpus: plan.cpus * 1e9,
      Memory: plan.memory_mb * 1024 * 1024,
      PidsLimit: MAX_PROCESSES,
      CapDrop: DROPPED_CAPABILITIES,
      SecurityOpt: sudo ? [] : ['no-new-privileges'],
    },
  };
}

function labels(spec: ServerSpec, { operationId, installation }: Owner): Record<string, string> {
  return {
    ...Object.fromEntries(spec.tags.map(labelOf).map(({ key, value }) => [`${TAG_LABEL_PREFIX}${key}`, value])),
    [OPERATION_LABEL]: operationId,
    ...(installation === null ? {} : { [INSTALLATION_LABEL]: installation }),
    [WORKSPACE_LABEL]: spec.workspace,
    [HOSTNAME_LABEL]: spec.hostname,
    [PLAN_LABEL]: spec.plan,
    [ZONE_LABEL]: spec.zone,
  };
}

/** A container from the list, as a server. */
export function toServer(container: ContainerInfo): ProviderServer {
  const labels = container.Labels ?? {};
  const status = STATUSES.get(container.State) ?? 'unknown';
  return {
    ref: container.Id,
    hostname: labels[HOSTNAME_LABEL] ?? container.Names[0]?.replace(/^\//, '') ?? container.Id.slice(0, 12),
    plan: labels[PLAN_LABEL] ?? '',
    zone: labels[ZONE_LABEL] ?? ZONE,
    status,
    ip_address: address(container),
    operation_id: labels[OPERATION_LABEL] ?? null,
    workspace: labels[WORKSPACE_LABEL] ?? null,
    installation: labels[INSTALLATION_LABEL] ?? null,
    tags: tagsOf(
      new Map(
        Object.entries(labels).flatMap(([key, value]) =>
          key.startsWith(TAG_LABEL_PREFIX) ? [[key.slice(TAG_LABEL_PREFIX.length), value]] : [],
        ),
      ),
    ),
  };
}

// Docker: created, running, paused, restarting, removing, exited, dead. Podman adds configured, initialized, stopping, stopped.
const STATUSES = new Map<string, ProviderServerStatus>([
  ['created', 'creating'],
  ['configured', 'creating'],
  ['initialized', 'creating'],
  ['running', 'running'],
  ['restarting', 'starting'],
  ['paused', 'stopped'],
  ['stopping', 'stopping'],
  ['stopped', 'stopped'],
  ['exited', 'stopped'],
  ['removing', 'deleting'],
  ['dead', 'error'],
]);

function address(container: ContainerInfo): string | null {
  const networks = Object.values(container.NetworkSettings?.Networks ?? {});
  const found =
    networks.find((network) => network.IPAddress)?.IPAddress ??
    networks.find((network) => network.GlobalIPv6Address)?.GlobalIPv6Address;
  return found || null;
}
