import { readFile } from 'node:fs/promises';
import { inexactness } from '../../documents/exact-json.ts';
import { type CommandDefinition, given, text, texts } from '../command.ts';
import { UsageError } from '../errors.ts';

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];

/** Any request at all. */
export const apiCommand: CommandDefinition = {
  name: 'api',
  summary: 'send any API request and print the response',
  examples: [
    'provisioning api GET /v1/servers?status=running',
    `provisioning api POST /v1/workspaces/create --data '{"name": "staging"}'`,
    'provisioning api POST /v1/servers/create --data @server.json',
  ],
  arguments: [
    { name: 'method', description: METHODS.join(', '), values: METHODS },
    { name: 'path', description: 'path with query, such as /v1/servers?status=running' },
  ],
  options: [
    { flags: '--data <json>', description: 'request body; @file reads a file, @- reads standard input' },
    { flags: '--header <name:value>', description: 'additional header; can be repeated', repeatable: true },
  ],
  covers: ['GET /openapi.json'],
  plain: 'the answer as the server gives it',
  async run(session, [givenMethod = '', path = ''], options) {
    const method = givenMethod.toUpperCase();
    if (!METHODS.includes(method))
      throw new UsageError(`"${givenMethod}" is not a supported method. Use ${METHODS.join(', ')}.`);
    if (!path.startsWith('/'))
      throw new UsageError(`The path must begin with a slash, such as /v1/servers: "${path}".`);
    const headers = Object.fromEntries(
      (texts(options, 'header') ?? []).map((header) => {
        const [, name = '', value = ''] = /^([^:\s]+):\s*(.*)$/.exec(header) ?? [];
        if (name === '') throw new UsageError(`--header ${header}: expected "name: value".`);
        return [name.toLowerCase(), value];
      }),
    );
    const body = await bodyOf(session, text(options, 'data'));
    // Braces are part of the address here, not places to fill in.
    const request = { method, path: path.replaceAll('{', '%7B').replaceAll('}', '%7D'), headers };
    const response = await (await session.client()).send({ ...request, ...given({ body }) });
    const answer = await response.text();
    const json = response.headers.get('content-type')?.includes('json') === true;
    session.terminal.out(json ? `${JSON.stringify(JSON.parse(answer), null, 2)}\n` : answer);
  },
};

async function bodyOf(session: Parameters<CommandDefinition['run']>[0], data: string | undefined): Promise<unknown> {
  if (data === undefined) return undefined;

  const content =
    data === '@-'
      ? await session.terminal.readAll()
      : data.startsWith('@')
        ? await readFile(data.slice(1), 'utf8')
        : data;
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (error) {
    throw new UsageError(`--data is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  // Read here and written anew, it would reach the server as something else, which the server could not see.
  const problem = inexactness(content, Number.POSITIVE_INFINITY);
  if (problem !== null && problem !== 'too deep') throw new UsageError(`--data: ${problem.field}: ${problem.message}.`);
  return value;
}
