/** What has to stand on one host, in which order, with which values. */
import { createHash } from 'node:crypto';
import type { Encryption } from '../access/encryption.ts';
import { resolveConfig, resolveOrder, resolveVersion, type TaskservDefinition } from '../catalog/catalog.ts';
import type { Queryable } from '../database/pool.ts';
import { sharedBudget } from '../evaluation/pool.ts';
import { type Member, type Membership, membershipOf } from './cluster/members.ts';
import { type CarriedRecord, carriedOn, membersOf } from './host-store.ts';
import { decryptSecrets } from './secrets.ts';
import { type Revision, readRevision } from './store.ts';

export type Definitions = ReadonlyMap<string, TaskservDefinition>;

/** One taskserv on one host, as it should be. */
export interface Item {
  definition: TaskservDefinition;
  version: string;
  /** Config with its secrets: never to be logged. */
  values: Record<string, unknown>;
  secretNames: string[];
  /** Null: nobody asked for it by itself. */
  taskservId: string | null;
  revision: number | null;
  /** Changes with the version, the values and install.sh: a host that carries it needs no install. */
  digest: string;
  /** The host's part in a service across servers; null: it has a service of its own. */
  membership: Membership | null;
  /**
   * What a member has handed out for this host to join: never to be logged or stored. Null: another process was given it,
   * so what is said with it cannot be told apart, and is not told.
   */
  facts: Record<string, string> | null;
}

/** The version and config that a revision asks for, whole. */
export function itemOf(
  encryption: Encryption,
  definition: TaskservDefinition,
  taskservId: string | null,
  revision: Revision,
): Item {
  const values = { ...revision.config, ...decryptSecrets(encryption, revision) };
  return {
    definition,
    version: revision.version,
    values,
    secretNames: revision.secret_names,
    taskservId,
    revision: revision.revision,
    digest: digestOf(definition, revision.version, values),
    membership: null,
    facts: {},
  };
}

/**
 * The item as a member of its service across servers, if it is one.
 * @param members as they are to be; default: as they are recorded.
 * @param lost the host carries nothing of it (any more).
 * @param leaving servers that are about to leave.
 */
export async function asMember(
  db: Queryable,
  item: Item,
  serverId: string,
  {
    lost = false,
    members,
    leaving = [],
  }: { lost?: boolean; members?: readonly Member[]; leaving?: readonly string[] } = {},
): Promise<Item> {
  const { definition, taskservId, version, values } = item;
  if (definition.cluster === null) return item;
  const known = members ?? (taskservId === null ? [] : await membersOf(db, taskservId));
  const membership = membershipOf(definition.cluster, known, serverId, { lost, leaving });
  if (membership === null) return item;
  const named = definition.cluster.follows_members
    ? membership.members.map(({ hostname, role, address }) => [hostname, role, address])
    : [];
  return { ...item, membership, digest: digestOf(definition, version, values, [membership.self.role, named]) };
}

/** With the version and the config that its definition gives it. */
export async function defaultItem(definition: TaskservDefinition): Promise<Item> {
  const version = resolveVersion(definition, undefined);
  const { values, secrets } = await resolveConfig(definition, {}, sharedBudget('catalog'));
  return {
    definition,
    version,
    values,
    secretNames: secrets,
    taskservId: null,
    revision: null,
    digest: digestOf(definition, version, values),
    membership: null,
    facts: {},
  };
}

/** @param more what a host's part in a service across servers adds. */
function digestOf(
  definition: TaskservDefinition,
  version: string,
  values: Record<string, unknown>,
  more: unknown[] = [],
): string {
  const sorted = Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256')
    .update(JSON.stringify([definition.name, version, sorted, definition.scripts.install, ...more]))
    .digest('hex');
}

/**
 * All that the wanted one requires and itself, in the order of installing. What somebody asked for by itself on this
 * host comes with its own version and config, the rest with its defaults.
 * @throws 400 VALIDATION_ERROR where the catalog cannot resolve it.
 */
export async function itemsOn(
  db: Queryable,
  encryption: Encryption,
  definitions: Definitions,
  serverId: string,
  wanted: Item,
): Promise<{ items: Item[]; carried: CarriedRecord[] }> {
  const carried = await carriedOn(db, [serverId]);
  const items: Item[] = [];
  for (const definition of resolveOrder(definitions, [wanted.definition.name])) {
    const { name } = definition;
    const own = carried.find((record) => record.name === name)?.taskserv_id ?? null;
    if (name === wanted.definition.name) items.push(wanted);
    else {
      const revision = own === null ? null : await readRevision(db, own);
      items.push(
        revision === null
          ? await defaultItem(definition)
          : await asMember(db, itemOf(encryption, definition, own, revision), serverId),
      );
    }
  }
  return { items, carried };
}

/** The names that a taskserv needs on its host, itself included. What the catalog no longer has needs nothing. */
export function closureOf(definitions: Definitions, name: string): Set<string> {
  const found = new Set([name]);
  for (const current of found) {
    for (const { name: required, type } of definitions.get(current)?.requires ?? []) {
      if (type === 'hard') found.add(required);
    }
  }
  return found;
}

/**
 * What goes from a host with a taskserv, in the order of removing: itself, and what came along and nobody else there
 * requires.
 */
export function namesToRemove(definitions: Definitions, carried: readonly CarriedRecord[], name: string): string[] {
  const needed = new Set<string>();
  for (const record of carried) {
    if (record.taskserv_id === null || record.name === name) continue;
    for (const required of closureOf(definitions, record.name)) needed.add(required);
  }
  const cameAlong = [...closureOf(definitions, name)].filter((required) =>
    carried.some((record) => record.name === required && record.taskserv_id === null),
  );
  const names = [name, ...cameAlong.filter((required) => !needed.has(required))];
  const order = resolveOrder(
    definitions,
    names.filter((known) => definitions.has(known)),
  ).map((definition) => definition.name);
  // What the catalog has forgotten cannot be ordered: it goes first, as nothing can require it.
  return [
    ...names.filter((known) => !definitions.has(known)),
    ...order.reverse().filter((known) => names.includes(known)),
  ];
}
