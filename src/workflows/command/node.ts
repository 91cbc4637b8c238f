import { Type } from 'typebox';
import type { NodeRules } from '../../operations/node.ts';
import { CreateTaskserv } from '../../taskservs/schemas.ts';

const closed = { additionalProperties: false } as const;
const text = (maxLength: number, description: string) => Type.String({ minLength: 1, maxLength, description });

/** A script on servers. */
export const commandNode = {
  name: 'command',
  with: Type.Object(
    {
      servers: CreateTaskserv.properties.servers,
      script: text(
        65_536,
        'Run as root on each server, by a POSIX shell or by what its first line names: `#!/usr/bin/env bash`. It is stored: secrets go through `env`.',
      ),
      env: Type.Optional(
        Type.Record(
          Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,63}$' }),
          Type.Union([Type.String({ maxLength: 4_096 }), Type.Object({ $secret: Type.Unknown() }, closed)]),
          {
            maxProperties: 200,
            description: 'Environment of the script: texts, and secrets (`${{ secrets.<name> }}`).',
          },
        ),
      ),
      timeout: Type.Optional(
        Type.Number({ minimum: 0, maximum: 86_400, description: 'Seconds that it may take on a server. Default 600.' }),
      ),
      undo_script: Type.Optional(text(65_536, 'Run on the same servers, in the same way, to undo it.')),
    },
    closed,
  ),
  permission: 'server_update',
  target: { what: 'server', permission: 'server_update', field: 'servers' },
} satisfies NodeRules;
