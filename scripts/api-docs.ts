import type { OpenAPI3, OperationObject, ParameterObject, ReferenceObject, SchemaObject } from 'openapi-typescript';

type Schema = SchemaObject | ReferenceObject;

const INTRODUCTION = `# The HTTP API

<!-- Written by "npm run generate" from openapi/openapi.json. -->

All requests, from [openapi.json](../openapi/openapi.json). A running server serves the same description at \`/openapi.json\`, and a page to
try requests at \`/docs\`. For TypeScript, use the [client library](guides/client-library.md).

- Log in with \`POST /v1/auth/login\`, or use an API token. Send the token as \`Authorization: Bearer …\`.
- A request that starts an operation returns 200 with the [operation](concepts.md#operation) and its address in \`Location\`.
- An error is \`{"error", "message", "code"}\` with \`details\` and \`request_id\`. Unknown fields are errors.
- A method that a path does not support is refused with 405. The header \`Allow\` lists the supported ones.
- A list is returned whole, or in pages with \`per_page\` and either \`page\` or \`cursor\`. Pages have the headers \`Link\` and \`X-Total-Count\`.
- \`Idempotency-Key\` makes a POST or DELETE safe to repeat.

`;

/** The reference: requests by section, then the shapes that they answer. */
export function apiPage(description: OpenAPI3): string {
  const sections = new Map<string, string[]>();
  const contents = new Map<string, string[]>();
  const named = (description.components?.schemas ?? {}) as Record<string, Schema>;
  for (const [route, item] of Object.entries(description.paths ?? {})) {
    for (const [method, operation] of Object.entries(item as Record<string, OperationObject>)) {
      const section = operation.tags?.[0] ?? 'Other';
      const title = `${method.toUpperCase()} ${route}`;
      sections.set(section, [...(sections.get(section) ?? []), requestText(title, operation, named)]);
      contents.set(section, [...(contents.get(section) ?? []), `[\`${title}\`](#${anchor(title)})`]);
    }
  }
  // What a request takes stands beside it.
  const shapes = Object.entries(named)
    .filter(([name]) => !name.endsWith('Request'))
    .map(([name, schema]) => `### ${name}\n\n${fieldsOf(schema)}`);
  const overview = [...contents].map(([section, links]) => `- **${section}**: ${links.join(' · ')}`).join('\n');
  const parts = [...sections].map(([section, texts]) => `## ${section}\n\n${texts.join('\n')}`);
  return `${INTRODUCTION}${overview}\n\n${parts.join('\n')}\n## Shapes\n\n${shapes.join('\n')}`;
}

/** As the renderers of Markdown make it of a heading. */
function anchor(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

function requestText(
  title: string,
  operation: OperationObject & { 'x-permission'?: string },
  named: Record<string, Schema>,
): string {
  const lines = [`### ${title}\n`, `${operation.summary ?? ''}.${permissionText(operation)}\n`];
  if (operation.description !== undefined) lines.push(`${operation.description}\n`);
  const parameters = ((operation.parameters ?? []) as ParameterObject[]).filter((one) => one.in !== 'header');
  if (parameters.length > 0) {
    lines.push('| parameter | | type | |\n| --- | --- | --- | --- |');
    for (const { name, in: place, required, schema, description } of parameters)
      lines.push(
        `| \`${name}\` | ${place}${required ? ', required' : ''} | ${typeOf(schema as Schema)} | ${cell(description)} |`,
      );
    lines.push('');
  }
  const body = contentSchema(operation.requestBody);
  if (body !== undefined) lines.push(`Body:\n\n${fieldsOf(withoutReference(body, named))}`);
  const answer = contentSchema(operation.responses?.['200']);
  if (answer !== undefined) lines.push(`Answers ${typeOf(answer)}.\n`);
  return lines.join('\n');
}

function permissionText({ 'x-permission': permission }: { 'x-permission'?: string }): string {
  return permission === undefined ? '' : ` Permission: \`${permission}\`.`;
}

function contentSchema(holder: unknown): Schema | undefined {
  const content = (holder as { content?: Record<string, { schema?: Schema }> } | undefined)?.content;
  return content === undefined ? undefined : Object.values(content)[0]?.schema;
}

/** The schema of a body by what it says, where it is one of a name. */
function withoutReference(schema: Schema, named: Record<string, Schema>): Schema {
  const [first = schema, ...others] = (schema as Shape).anyOf ?? [];
  const { $ref } = first as Shape;
  return others.length > 1 || $ref === undefined ? schema : (named[$ref.split('/').at(-1) ?? ''] ?? schema);
}

function fieldsOf(schema: Schema): string {
  const { properties, required = [] } = schema as { properties?: Record<string, Schema>; required?: string[] };
  if (properties === undefined) return `${typeOf(schema)}\n`;
  const rows = Object.entries(properties).map(
    ([name, field]) =>
      `| \`${name}\` | ${required.includes(name) ? 'required' : ''} | ${typeOf(field)} | ${cell((field as SchemaObject).description)} |`,
  );
  return `| field | | type | |\n| --- | --- | --- | --- |\n${rows.join('\n')}\n`;
}

interface Shape {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  format?: string;
}

/** A type in a few words. */
function typeOf(schema: Schema | undefined): string {
  if (schema === undefined) return '';
  const { $ref, type, enum: choices, const: only, items, anyOf, oneOf, format } = schema as Shape;
  if ($ref !== undefined) {
    const name = $ref.split('/').at(-1) ?? '';
    return `[${name}](#${anchor(name)})`;
  }
  const parts = anyOf ?? oneOf;
  if (parts !== undefined) return [...new Set(parts.map(typeOf))].join(' or ');
  if (only !== undefined) return `\`${String(only)}\``;
  if (choices !== undefined) return choices.map((choice) => `\`${String(choice)}\``).join(', ');
  if (type === 'array') return `list of ${typeOf(items)}`;
  return `${[type ?? 'any'].flat().join(' or ')}${format === undefined ? '' : ` (${format})`}`;
}

function cell(text: string | undefined): string {
  return (text ?? '').replaceAll('|', '\\|').replaceAll('\n', ' ');
}
