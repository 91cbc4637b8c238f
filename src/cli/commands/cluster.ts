import { type CommandDefinition, given, text } from '../command.ts';
import { UsageError } from '../errors.ts';
import { findTaskserv, TASKSERV_WORKSPACE } from './taskserv.ts';

const HOURS = /^[1-9][0-9]?$/;

/** What is done with a whole cluster. */
export const clusterCommands: readonly CommandDefinition[] = [
  {
    name: 'cluster kubeconfig',
    summary: 'get a kubeconfig for a Kubernetes cluster',
    description:
      'The file contains a certificate for you, with all rights in the cluster. It cannot be revoked before it expires: do not share the file.',
    examples: [
      '(umask 077 && provisioning cluster kubeconfig >~/.kube/config)',
      'provisioning cluster kubeconfig kubernetes --workspace prod --hours 1',
    ],
    arguments: [
      {
        name: 'taskserv',
        description: 'id (tsk-…) or name (default: kubernetes)',
        names: 'taskserv',
        optional: true,
      },
    ],
    options: [TASKSERV_WORKSPACE, { flags: '--hours <number>', description: 'validity, at most 24 (default: 8)' }],
    covers: ['GET /v1/taskservs/{id}/kubeconfig'],
    plain: 'a file for kubectl',
    async run(session, [name = 'kubernetes'], options) {
      const hours = text(options, 'hours');
      if (hours !== undefined && !HOURS.test(hours)) throw new UsageError('--hours must be a number from 1 to 24.');
      const client = await session.client();
      const { id } = await findTaskserv(client, name, options);
      const made = await client.get('/v1/taskservs/{id}/kubeconfig', {
        path: { id },
        query: given({ hours: hours === undefined ? undefined : Number(hours) }),
      });
      session.terminal.out(made.kubeconfig);
    },
  },
];
