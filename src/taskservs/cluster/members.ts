/** The servers of a service across servers: which part each has, who leads, in which order they are changed. Pure. */
import type { ClusterDefinition, TaskservDefinition } from '../../catalog/catalog.ts';
import { errors } from '../../errors.ts';

/** A server's part in the service. */
export interface Place {
  server_id: string;
  role: string;
  /** In the order in which the servers were named. */
  position: number;
}

/** A server of the service as its scripts and its leader know it. */
export interface Member extends Place {
  hostname: string;
  address: string | null;
  status: string;
  /** What was installed last with success; null: it has not joined yet. */
  version: string | null;
}

/** What a script on one host is told of the service that the host is a part of. */
export interface Membership {
  self: Member;
  /** Founds the service, or has longest been a member: where something is done once, it is done there. */
  leader: Member;
  /** In order, itself included, without those that are about to leave. */
  members: Member[];
  /** Runs what has to be done for this one on another member; null: there is no other one yet. */
  contact: Member | null;
}

/** Servers that are changed one after the other, or `at_once` of them; null: all at once. Stored with operations. */
export interface Round {
  action: 'install' | 'remove';
  servers: string[];
  at_once: number | null;
}

/** The places among a taskserv's hosts; none where they know nothing of each other. */
export function placesAmong(
  hosts: readonly { server_id: string; role: string | null; position: number | null }[],
): Place[] {
  return hosts.flatMap(({ server_id, role, position }) =>
    role === null || position === null ? [] : [{ server_id, role, position }],
  );
}

/** The places of the hosts that carry a taskserv. A single one without a place founded what others may join. */
export function presentPlaces(
  { cluster }: TaskservDefinition,
  present: readonly { server_id: string; role: string | null; position: number | null }[],
): Place[] {
  const places = placesAmong(present);
  const [single, ...more] = present;
  const [first] = cluster?.roles ?? [];
  if (places.length > 0 || single === undefined || more.length > 0 || first === undefined) return places;
  return [{ server_id: single.server_id, role: first.name, position: 1 }];
}

/**
 * The places that a request makes; null: each server gets a service of its own.
 * @param present hosts that carry the taskserv. Several without places were made before there were any, each by itself.
 * @throws 400, 409 as `placesOf`, and 400 for settings that contradict the places that there are.
 */
export function wantedPlaces(
  definition: TaskservDefinition,
  values: Record<string, unknown>,
  present: readonly { server_id: string; role: string | null; position: number | null }[],
  wanted: readonly { server_id: string; hostname: string }[],
): Place[] | null {
  const { name, cluster } = definition;
  if (cluster === null) return null;
  const places = placesAmong(present);
  const own = ownSettings(definition, values);
  if (own.length > 0) {
    if (places.length === 0) return null;
    throw errors.validation(
      own.map((setting) => ({
        field: `config.${setting}`,
        message: `sets each server up by itself; this ${name} is one service across its servers`,
      })),
    );
  }
  if (places.length === 0 && present.length > 1) return null;
  return placesOf(name, cluster, values, presentPlaces(definition, present), wanted);
}

/** Settings by which the servers are set up each by itself. */
function ownSettings(definition: TaskservDefinition, values: Record<string, unknown>): string[] {
  return (definition.cluster?.unless ?? []).filter((name) => differs(definition, values, name));
}

/** Whether a setting has another value than its default. */
function differs(definition: TaskservDefinition, values: Record<string, unknown>, name: string): boolean {
  const value = values[name];
  return value !== undefined && JSON.stringify(value) !== JSON.stringify(definition.config[name]?.default);
}

/**
 * Gives each server its part: who is a member keeps it, those that come fill the roles in order.
 * @param name of the taskserv, for messages.
 * @param wanted all servers that are to be members, in the order in which they were named.
 * @throws 400 where there are too few servers for the roles, 409 where a member would need another role.
 */
function placesOf(
  name: string,
  cluster: ClusterDefinition,
  values: Record<string, unknown>,
  present: readonly Place[],
  wanted: readonly { server_id: string; hostname: string }[],
): Place[] {
  const staying = present.filter(({ server_id }) => wanted.some((server) => server.server_id === server_id));
  const coming = wanted.filter(({ server_id }) => !staying.some((place) => place.server_id === server_id));
  const places = [...staying];
  let position = Math.max(0, ...present.map((place) => place.position));
  let left = coming;
  for (const role of cluster.roles) {
    const standing = staying.filter((place) => place.role === role.name).length;
    const count = typeof role.count === 'string' ? Number(values[role.count]) : role.count;
    if (count !== null && standing > count) {
      throw errors.conflict(
        `${name} has ${standing} servers with the role ${role.name}, ${count} are wanted. Name the servers that stay.`,
        { role: role.name, servers: standing, wanted: count },
      );
    }
    const missing = count === null ? left.length : count - standing;
    if (missing > left.length)
      throw tooFew(name, role, staying.length, { standing: standing + left.length, count: count ?? 0 });
    for (const { server_id } of left.slice(0, missing))
      places.push({ server_id, role: role.name, position: ++position });
    left = left.slice(missing);
  }
  return places.toSorted((a, b) => a.position - b.position);
}

function tooFew(
  name: string,
  role: { name: string; count: number | string | null },
  members: number,
  { standing, count }: { standing: number; count: number },
) {
  const field = typeof role.count === 'string' ? `config.${role.count}` : 'servers';
  const more = members > 0 ? ' A server that is a member keeps its role: add servers.' : '';
  return errors.validation([
    {
      field,
      message: `${name} needs ${count} servers with the role ${role.name}; there are ${standing} for it.${more}`,
    },
  ]);
}

/** The one that leads by its place: the first with the first role. */
function firstOf<P extends Place>(cluster: ClusterDefinition, places: readonly P[]): P | undefined {
  const inOrder = places.toSorted((a, b) => a.position - b.position);
  return inOrder.find(({ role }) => role === cluster.roles[0]?.name) ?? inOrder[0];
}

/** A server that cannot leave, and why. */
interface Stuck {
  place: Place;
  /** After the server's name. */
  why: string;
}

/**
 * The first server, where the service cannot do without it; null: each may go.
 * @param values of the config that the members have.
 */
export function fixedLeader(
  definition: TaskservDefinition,
  values: Record<string, unknown>,
  present: readonly Place[],
): Stuck | null {
  const { name, cluster } = definition;
  const place = cluster === null ? undefined : firstOf(cluster, present);
  if (cluster === null || place === undefined) return null;
  if (cluster.leader === 'fixed') {
    const why = `leads ${name} for good and cannot leave: name it in "servers". To move the service, set up another one and move its data.`;
    return { place, why };
  }
  const { shared_address: setting } = cluster;
  if (setting === null || differs(definition, values, setting)) return null;
  const why = `is the server by whose address all reach ${name}, and cannot leave: name it in "servers". That takes a service that was made with an address of its own (config.${setting}).`;
  return { place, why };
}

/** Whether the service is among these servers: one of them founded it, or has joined it in the first role. */
export function goesOn(
  cluster: ClusterDefinition,
  members: readonly { role: string; version: string | null }[],
): boolean {
  return members.some(({ role, version }) => role === cluster.roles[0]?.name && version !== null);
}

/**
 * What a host is told of its service; null: it is no member.
 * @param all members in order, with those that are about to leave.
 * @param lost the host itself carries nothing of the service (any more).
 */
export function membershipOf(
  cluster: ClusterDefinition,
  all: readonly Member[],
  serverId: string,
  { lost, leaving }: { lost: boolean; leaving: readonly string[] },
): Membership | null {
  const self = all.find(({ server_id }) => server_id === serverId);
  if (self === undefined) return null;
  const stays = (member: Member) => !leaving.includes(member.server_id);
  const members = all.filter((member) => stays(member) || member === self);
  const installed = all.filter(({ role, version }) => role === cluster.roles[0]?.name && version !== null);
  const leads = (candidates: readonly Member[]) => candidates.find((member) => !(lost && member === self));
  const leader = leads(installed.filter(stays)) ?? leads(installed) ?? members[0] ?? self;
  const first = firstOf(cluster, all);
  const eligible = installed.filter((member) => member !== self && (cluster.leader === 'any' || member === first));
  const able = (candidates: readonly Member[]) =>
    candidates.find(({ status }) => status === 'running') ?? candidates[0] ?? null;
  return {
    self,
    members,
    leader: cluster.leader === 'fixed' ? (first ?? self) : leader,
    contact: able(eligible.filter(stays)) ?? able(eligible),
  };
}

/** The order in which members are installed or changed: the leader by itself, then role by role. */
export function installRounds(cluster: ClusterDefinition, places: readonly Place[]): Round[] {
  const leader = firstOf(cluster, places);
  if (leader === undefined) return [];
  const others = places.filter((place) => place !== leader).toSorted((a, b) => a.position - b.position);
  const rounds = cluster.roles.map(({ name, at_once }) => ({
    action: 'install' as const,
    servers: others.filter(({ role }) => role === name).map(({ server_id }) => server_id),
    at_once,
  }));
  return [{ action: 'install' as const, servers: [leader.server_id], at_once: 1 }, ...rounds].filter(
    ({ servers }) => servers.length > 0,
  );
}

/** The rounds with only these servers. */
export function roundsOf(rounds: readonly Round[], servers: readonly { server_id: string }[]): Round[] {
  return rounds
    .map((round) => ({
      ...round,
      servers: round.servers.filter((id) => servers.some(({ server_id }) => server_id === id)),
    }))
    .filter((round) => round.servers.length > 0);
}

/** The order in which members leave: the other way round, the leader last. */
export function removeRounds(cluster: ClusterDefinition, places: readonly Place[]): Round[] {
  return installRounds(cluster, places)
    .toReversed()
    .map((round) => ({ ...round, action: 'remove' as const, servers: round.servers.toReversed() }));
}
