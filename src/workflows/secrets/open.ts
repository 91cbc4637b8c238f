/** Opens references to secrets, right before what they stand for goes to a host. */

import type { Encryption } from '../../access/encryption.ts';
import { type Principal, requirePermission } from '../../access/permissions.ts';
import type { Queryable } from '../../database/pool.ts';
import { isObject, type JsonObject } from '../../documents/json.ts';
import { errors } from '../../errors.ts';
import type { NodeRequest, NodeRules } from '../../operations/node.ts';
import { decryptSecrets } from '../../taskservs/secrets.ts';
import { readRevision } from '../../taskservs/store.ts';
import { databaseSecrets } from '../../workspaces/secret-source.ts';
import { openSecret } from '../../workspaces/secrets.ts';
import { givenValue, referencesIn, type SecretReference } from './reference.ts';
import { ownerOfTaskserv, readSecrets } from './store.ts';

/** What opening works with. */
export interface SecretTools {
  db: Queryable;
  encryption: Encryption;
}

/**
 * Whoever hands a taskserv's secret to another host could change that taskserv as well; nobody gets at one by copying. Secrets
 * of the workspace are for those who may use them.
 * @throws 404, 403.
 */
export async function requireSecrets(
  { db, encryption }: SecretTools,
  principal: Principal,
  workspace: string,
  references: Iterable<SecretReference>,
): Promise<void> {
  for (const reference of references) {
    if (reference.of === 'workspace') {
      await openSecret(databaseSecrets(db, encryption), principal, workspace, reference.key);
    }
    if (reference.of !== 'taskserv') continue;
    const owner = await ownerOfTaskserv(db, reference.id);
    if (owner === null || owner.workspace !== workspace) throw errors.notFound('taskserv', reference.id);
    requirePermission(principal, 'taskserv_update', {
      what: 'taskserv',
      id: reference.id,
      ...owner,
      read: 'taskserv_read',
    });
  }
}

/**
 * The node with the references of its `secrets` field opened: for its `prepare` alone, never to be stored or told.
 * @throws 404, 403.
 */
export async function openNode<Node extends NodeRequest>(
  tools: SecretTools,
  principal: Principal,
  { secrets: field }: NodeRules,
  node: Node,
): Promise<Node> {
  const given = field === undefined ? undefined : node.fields[field];
  if (field === undefined || !isObject(given)) return node;
  await requireSecrets(tools, principal, node.workspace, referencesIn(given).values());
  const { fields, secrets } = await openFields(tools, node, given);
  return { ...node, fields: { ...node.fields, [field]: fields }, secretNames: secrets };
}

/** The object with its references opened: never to be stored or told. @throws 404 where one leads nowhere. */
export async function openFields(
  { db, encryption }: SecretTools,
  { workflowId, workspace }: { workflowId: string; workspace: string },
  fields: JsonObject,
): Promise<{ fields: Record<string, unknown>; secrets: string[] }> {
  const references = referencesIn(fields);
  if (references.size === 0) return { fields, secrets: [] };
  const opened: Record<string, unknown> = { ...fields };
  let ofRun: Map<string, string> | null = null;
  for (const [name, reference] of references) {
    if (reference.of === 'run') {
      ofRun ??= await readSecrets(db, encryption, workflowId);
      const value = ofRun.get(reference.name);
      if (value === undefined) throw errors.notFound('secret of this workflow', reference.name);
      opened[name] = givenValue(reference.name, value);
      continue;
    }
    if (reference.of === 'workspace') {
      const kept = await databaseSecrets(db, encryption).read(workspace, reference.key);
      if (kept === null) throw errors.notFound(`secret in workspace "${workspace}"`, reference.key);
      opened[name] = kept.value;
      continue;
    }
    const revision = await readRevision(db, reference.id);
    const value = revision === null ? undefined : decryptSecrets(encryption, revision)[reference.field];
    if (value === undefined) throw errors.notFound(`secret of taskserv ${reference.id}`, reference.field);
    opened[name] = value;
  }
  return { fields: opened, secrets: [...references.keys()] };
}
