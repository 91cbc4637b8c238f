import { sql } from 'kysely';
import type { Encryption } from '../../access/encryption.ts';
import type { Queryable } from '../../database/pool.ts';
import type { Json } from '../../documents/json.ts';
import type { Given } from './given.ts';
import { givenValue, isGiven, isGivenText } from './reference.ts';

const contextOf = (workflowId: string, name: string) => `secret ${name} of workflow ${workflowId}`;

/** Stores a run's secrets, sealed for this run alone. One that it has stays as it is. */
export async function insertSecrets(
  tx: Queryable,
  encryption: Encryption,
  workflowId: string,
  secrets: ReadonlyMap<string, string>,
): Promise<void> {
  if (secrets.size === 0) return;
  await tx
    .insertInto('provisioning.workflow_secrets')
    .values(
      [...secrets].map(([name, value]) => ({
        workflow_id: workflowId,
        name,
        sealed: encryption.encrypt(value, contextOf(workflowId, name)),
      })),
    )
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** A run's secrets, opened. Never to be stored or told. */
export async function readSecrets(
  db: Queryable,
  encryption: Encryption,
  workflowId: string,
): Promise<Map<string, string>> {
  const rows = await db
    .selectFrom('provisioning.workflow_secrets')
    .select(['name', 'sealed'])
    .where('workflow_id', '=', workflowId)
    .execute();
  return new Map(rows.map(({ name, sealed }) => [name, encryption.decrypt(sealed, contextOf(workflowId, name))]));
}

/** Stores the secrets that were handed in with a run, likewise. */
export async function insertGiven(
  tx: Queryable,
  encryption: Encryption,
  workflowId: string,
  given: Given,
): Promise<void> {
  const texts = [...given].map(([name, value]): [string, string] => [
    name,
    isGivenText(name) ? String(value) : JSON.stringify(value),
  ]);
  await insertSecrets(tx, encryption, workflowId, new Map(texts));
}

/** The secrets that were handed in with a run, opened. */
export async function readGiven(db: Queryable, encryption: Encryption, workflowId: string): Promise<Map<string, Json>> {
  const all = await readSecrets(db, encryption, workflowId);
  return new Map([...all].flatMap(([name, text]) => (isGiven(name) ? [[name, givenValue(name, text)]] : [])));
}

/** Whose a taskserv is; null: there is none of this id. */
export async function ownerOfTaskserv(
  db: Queryable,
  id: string,
): Promise<{ workspace: string; ownerId: string | null } | null> {
  const { rows } = await sql<{ workspace: string; ownerId: string | null }>`
    select workspace, owner_id as "ownerId" from provisioning.taskservs where id = ${id}`.execute(db);
  return rows[0] ?? null;
}
