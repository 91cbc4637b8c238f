import { VERSION } from '../../version.ts';
import type { CommandDefinition } from '../command.ts';

/** The server for assistants. */
export const assistantCommands: readonly CommandDefinition[] = [
  {
    name: 'mcp',
    summary: 'connect an AI assistant over standard input and output (MCP)',
    description:
      'The assistant has the permissions of the token. Create a separate token with a suitable role for it (docs/guides/assistants.md). The server offers the same tools over HTTP at /mcp.',
    examples: ['provisioning mcp', 'provisioning mcp --context staging'],
    covers: ['GET /v1/auth/me'],
    plain: 'the protocol of assistants',
    async run(session) {
      const client = await session.client();
      // Tells at once what is wrong with the token or the address.
      await client.get('/v1/auth/me');
      const { serveAssistant } = await import('../../mcp/stdio.ts');
      await serveAssistant(client, VERSION, (line) => session.terminal.note(line));
    },
  },
];
