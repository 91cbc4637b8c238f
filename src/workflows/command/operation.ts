import { isObject } from '../../documents/json.ts';
import { errors } from '../../errors.ts';
import { defineInternalOperation } from '../../operations/define.ts';
import { acceptOnHosts, lockNamed } from '../../taskservs/service.ts';
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
      await requireSecrets({ ...services, db: mutation.tx }, mutation.principal, workspace, referencesIn(env).values());
      const names = Array.isArray(fields.servers) ? fields.servers.map(String) : [];
      const { servers, unknown } = await lockNamed(mutation, workspace, names);
      if (unknown.length > 0) throw errors.notFound(`server in workspace "${workspace}"`, unknown.join(', '));
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
    undo({ fields, input }) {
      if (typeof fields.undo_script !== 'string') return { how: 'keep', why: 'It has no undo_script.' };
      const { env = {}, timeout = DEFAULT_TIMEOUT } = fields;
      // Where it ran, whatever bears those names now.
      const hosts = Array.isArray(input.hosts) ? input.hosts.filter(isObject) : [];
      const servers = hosts.map(({ server_id: id }) => String(id));
      return { how: 'node', kind: 'command', fields: { servers, env, timeout, script: fields.undo_script } };
    },
  },
});
