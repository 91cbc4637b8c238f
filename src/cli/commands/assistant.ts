import { VERSION } from '../../version.ts';
import type { CommandDefinition } from '../command.ts';

/** The server for assistants. */
export const assistantCommands: readonly CommandDefinition[] = [
  {
    name: 'mcp',
    summary: 'serve an assistant on standard input and output (Model Context Protocol)',
    description:
      'It may do what the token may: give it one of its own, with a role that fits (docs/guides/assistants.md). The server itself offers the same at /mcp.',
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
