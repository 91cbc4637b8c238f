/** What the nodes of servers have in common. */
import { Type } from 'typebox';
import { errors } from '../errors.ts';
import type { Mutation } from '../http/mutation.ts';
import type { NodeRequest } from '../operations/node.ts';
import { serverIdOf } from './store.ts';

export const serverField = Type.String({
  minLength: 1,
  maxLength: 253,
  description: 'Id or hostname of a server of the workspace.',
});

/** A server of the workspace by id or hostname. @throws 404. */
export async function serverOf(mutation: Mutation, { workspace, fields }: NodeRequest): Promise<string> {
  const name = String(fields.server);
  const id = await serverIdOf(mutation.tx, workspace, name);
  if (id === null) throw errors.notFound(`server in workspace "${workspace}"`, name);
  return id;
}
