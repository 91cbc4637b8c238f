/**
 * How a node of each kind becomes an operation, and how what it did is undone. The one list: a kind is added here and
 * in rules.ts.
 */
import { errors } from '../../errors.ts';
import type { Answer, Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import type { CreateServer } from '../../servers/schemas.ts';
import { changePower, createServer, deleteServer } from '../../servers/service.ts';
import { serverIdOf } from '../../servers/store.ts';
import type { JsonObject } from '../json.ts';
import type { Snapshot } from '../running/store.ts';
import type { Kind } from './rules.ts';

/** A node that is to become an operation. */
export interface NodeRequest {
  workflowId: string;
  position: number;
  key: string;
  workspace: string;
  kind: Kind;
  fields: JsonObject;
  run: Snapshot;
}

type Submit = (services: Services, mutation: Mutation, node: NodeRequest) => Promise<Answer>;

const power =
  (action: 'start' | 'stop' | 'restart'): Submit =>
  async (services, mutation, node) =>
    changePower(services, mutation, await serverOf(mutation, node), action);

const SUBMIT: Partial<Record<Kind, Submit>> = {
  'server.create': (services, mutation, { workspace, fields }) =>
    createServer(services, mutation, { ...fields, workspace } as unknown as CreateServer),
  'server.delete': async (services, mutation, node) =>
    deleteServer(services, mutation, await serverOf(mutation, node), { force: node.fields.force === true }),
  'server.start': power('start'),
  'server.stop': power('stop'),
  'server.restart': power('restart'),
};

/** A server of the workspace by id or hostname. @throws 404. */
async function serverOf(mutation: Mutation, { workspace, fields }: NodeRequest): Promise<string> {
  const name = String(fields.server);
  const id = await serverIdOf(mutation.tx, workspace, name);
  if (id === null) throw errors.notFound(`server in workspace "${workspace}"`, name);
  return id;
}

/** Submits a node's operation in the caller's transaction. @returns the operation's id. */
export async function submitNode(services: Services, mutation: Mutation, node: NodeRequest): Promise<string> {
  const submit = SUBMIT[node.kind];
  if (submit === undefined) throw new Error(`nodes of kind ${node.kind} cannot be submitted`);
  const { body } = await submit(services, mutation, node);
  const operation: unknown = typeof body === 'string' ? JSON.parse(body) : body;
  if (typeof operation !== 'object' || operation === null || !('id' in operation))
    throw new Error('an operation has no id');
  return String(operation.id);
}
