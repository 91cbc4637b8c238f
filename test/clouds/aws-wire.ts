/** EC2's Query protocol: parameters in a form, answers in XML. */
import { randomBytes } from 'node:crypto';
import type { FakeReply } from './fake.ts';

/** An object as XML: arrays repeat their element, null and undefined leave it out. */
function xml(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'object') {
    return String(value).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  }
  return Object.entries(value)
    .flatMap(([name, content]) => (Array.isArray(content) ? content : [content]).map((each) => [name, each] as const))
    .map(([name, content]) => (content === null || content === undefined ? '' : `<${name}>${xml(content)}</${name}>`))
    .join('');
}

export function reply(action: string, body: object): FakeReply {
  const content = xml({ requestId: randomBytes(8).toString('hex'), ...body });
  const tag = `${action}Response`;
  return {
    status: 200,
    contentType: 'text/xml;charset=UTF-8',
    body: `<?xml version="1.0" encoding="UTF-8"?>\n<${tag} xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">${content}</${tag}>`,
  };
}

export function refusal(status: number, code: string, message: string): FakeReply {
  const content = xml({
    Errors: { Error: { Code: code, Message: message } },
    RequestID: randomBytes(8).toString('hex'),
  });
  return {
    status,
    contentType: 'text/xml;charset=UTF-8',
    body: `<?xml version="1.0" encoding="UTF-8"?>\n<Response>${content}</Response>`,
  };
}

interface Filter {
  name: string;
  values: string[];
}

/** `Filter.1.Name` with its `Filter.1.Value.…`. */
export function filtersOf(parameters: URLSearchParams): Filter[] {
  const filters: Filter[] = [];
  for (let at = 1; parameters.has(`Filter.${at}.Name`); at++) {
    filters.push({ name: parameters.get(`Filter.${at}.Name`) ?? '', values: listOf(parameters, `Filter.${at}.Value`) });
  }
  return filters;
}

export function listOf(parameters: URLSearchParams, name: string): string[] {
  const values: string[] = [];
  for (let at = 1; parameters.has(`${name}.${at}`); at++) values.push(parameters.get(`${name}.${at}`) ?? '');
  return values;
}

function matches(pattern: string, text: string): boolean {
  const escaped = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${escaped}$`).test(text);
}

/**
 * The rows that all filters let through, or what is wrong with a filter.
 * @param factsOf what a filter of that name is compared with; null: EC2 knows no such filter.
 */
export function filtered<Row>(
  parameters: URLSearchParams,
  rows: readonly Row[],
  factsOf: (row: Row, filter: string) => readonly string[] | null,
): Row[] | FakeReply {
  const filters = filtersOf(parameters);
  const found: Row[] = [];
  for (const row of rows) {
    let wanted = true;
    for (const { name, values } of filters) {
      const facts = factsOf(row, name);
      if (facts === null) return refusal(400, 'InvalidParameterValue', `The filter '${name}' is invalid`);
      wanted &&= values.some((value) => facts.some((fact) => matches(value, fact)));
    }
    if (wanted) found.push(row);
  }
  return found;
}

/** The page that is asked for, and the token of the next one, or what is wrong with the size. */
export function paged<Row>(
  parameters: URLSearchParams,
  rows: readonly Row[],
  { least, most }: { least: number; most: number },
): { page: Row[]; nextToken: string | null } | FakeReply {
  const size = Number(parameters.get('MaxResults') ?? most);
  if (!(size >= least && size <= most)) {
    return refusal(400, 'InvalidParameterValue', `Value (${size}) for parameter maxResults is invalid.`);
  }
  const start = Number(Buffer.from(parameters.get('NextToken') ?? '', 'base64').toString() || 0);
  const more = start + size < rows.length;
  return {
    page: rows.slice(start, start + size),
    nextToken: more ? Buffer.from(String(start + size)).toString('base64') : null,
  };
}

export function isReply(value: object): value is FakeReply {
  return 'status' in value && 'body' in value;
}
