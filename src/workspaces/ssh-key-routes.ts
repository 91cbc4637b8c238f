import { Type } from 'typebox';
import { principalOf } from '../http/context.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { workspaceParams } from './schemas.ts';
import { getSshKey, putSshKey } from './ssh-key-service.ts';

/** Private keys are far smaller: RSA of 16384 bits has some 13 000 characters. */
const MAX_KEY_LENGTH = 20_000;

const SshKey = Type.Object(
  {
    workspace: Type.String(),
    public_key: Type.String({ description: 'The public key, as a line for `authorized_keys`.' }),
    fingerprint: Type.String({ examples: ['SHA256:uNiVztksCsDhcc0u9e8BrQjWYlVZ8Z5Jm3iM3XxkGxk'] }),
    generated: Type.Boolean({ description: 'True if the server generated the key; false if it was imported.' }),
    created_at: Type.String({ format: 'date-time' }),
    updated_at: Type.String({ format: 'date-time' }),
  },
  { title: 'SshKey', additionalProperties: false },
);

const PutSshKey = Type.Object(
  {
    private_key: Type.String({
      minLength: 1,
      maxLength: MAX_KEY_LENGTH,
      description: 'OpenSSH or PEM, without a passphrase. Stored encrypted and never returned.',
    }),
    force: Type.Optional(
      Type.Boolean({ default: false, description: 'Replace the key even if servers accept only the present one.' }),
    ),
  },
  { additionalProperties: false },
);

export function registerSshKeyRoutes(app: App, { db, encryption, mutate }: Services): void {
  app.get(
    '/v1/workspaces/:name/ssh-key',
    {
      config: { access: 'workspace_read' },
      schema: {
        operationId: 'getSshKey',
        summary: "Get a workspace's SSH key",
        description: 'Returns the public key. An ed25519 key pair is generated when it is first needed.',
        tags: ['Workspaces'],
        params: workspaceParams,
        response: { 200: SshKey, ...errorResponses(401, 403, 404) },
      },
    },
    async (request) => getSshKey(db, encryption, principalOf(request), request.params.name),
  );

  app.put(
    '/v1/workspaces/:name/ssh-key',
    {
      config: { access: 'workspace_update' },
      schema: {
        operationId: 'setSshKey',
        summary: "Set a workspace's SSH key",
        description: 'Replaces the key pair with which the server logs in to the servers of the workspace.',
        tags: ['Workspaces'],
        params: workspaceParams,
        body: PutSshKey,
        response: { 200: SshKey, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => putSshKey(encryption, mutation, request.params.name, request.body)),
  );
}
