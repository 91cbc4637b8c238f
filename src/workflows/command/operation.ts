import { requirePermission } from '../../access/permissions.ts';
import { isObject } from '../../documents/json.ts';
import { errors } from '../../errors.ts';
import { defineInternalOperation } from '../../operations/define.ts';
import { lockServer } from '../../servers/store.ts';
import { lockHosts } from '../../taskservs/host-store.ts';
import { acceptOnHosts } from '../../taskservs/service.ts';
import { requireSecrets } from '../secrets/open.ts';
import { referencesIn } from '../secrets/reference.ts';
import type { WorkflowTools } from '../tools.ts';
import { commandNode } from './node.ts';
import { commandProcedure } from './procedure.ts';

/** Seconds that a script may take on a server where the node does not say. */
const DEFAULT_TIMEOUT = 600;

/** A script on servers, through the way into them; one change a host at a time, as with taskservs. */
export const runCommand = defineInternalOperation({
  kind: 'workflow.command',
  startedBy: 'a node of a workflow',
  procedure: ({ hosts }: WorkflowTools) => commandProcedure(hosts),
  node: {
    ...commandNode,
    async accept(services, mutation, { workspace, workflowId, fields, key }) {
      const env = isObject(fields.env) ? fields.env : {};
      await requireSecrets({ db: mutation.tx }, mutation.principal, workspace, referencesIn(env).values());
      const names = Array.isArray(fields.servers) ? fields.servers.map(String) : [];
      const servers = await lockHosts(mutation.tx, workspace, names);
      const unknown = names.filter((name) => !servers.some(({ id, hostname }) => id === name || hostname === name));
      if (unknown.length > 0) throw errors.notFound(`server in workspace "${workspace}"`, unknown.join(', '));
      for (const { id } of servers) {
        const createdBy = (await lockServer(mutation.tx, id))?.created_by ?? '';
        requirePermission(mutation.principal, 'server_update', {
          what: 'server',
          id,
          workspace,
          createdBy,
          read: 'server_read',
        });
      }
      const hosts = servers.map(({ id, hostname }) => ({ server_id: id, hostname }));
      return acceptOnHosts(services, mutation, {
        doing: `Run ${key} on`,
        kind: 'workflow.command',
        workspace,
        resource: null,
        hosts,
        turns: true,
        input: {
          workflow_id: workflowId,
          script: fields.script ?? '',
          env,
          timeout: fields.timeout ?? DEFAULT_TIMEOUT,
        },
        details: { step: key, servers: hosts.map(({ hostname }) => hostname) },
        plan: {},
      });
    },
    undo({ fields }) {
      if (typeof fields.undo_script !== 'string') return { how: 'keep', why: 'It has no undo_script.' };
      const { servers = [], env = {}, timeout = DEFAULT_TIMEOUT } = fields;
      return { how: 'node', kind: 'command', fields: { servers, env, timeout, script: fields.undo_script } };
    },
  },
});
