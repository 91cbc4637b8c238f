import { once } from 'node:events';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import type { Client } from '../sdk/client.ts';
import { createAssistantServer } from './server.ts';

/** Serves an assistant on standard input and output until it closes them. @param note what a person may want to know. */
export async function serveAssistant(client: Client, version: string, note: (line: string) => void): Promise<void> {
  const ended = once(process.stdin, 'close');
  const handle = serveStdio(() => createAssistantServer(client, version), {
    onerror: (error) => note(`provisioning mcp: ${error.message}`),
  });
  await ended;
  await handle.close();
}
