import type { CloudHttp } from '../cloud-http.ts';
import { type CallKind, type CallOptions, ProviderError } from '../contract.ts';
import { fields, items, numeric } from '../wire.ts';

/** The most that one page holds. */
const PAGE_SIZE = 50;
/** Past that something else is wrong. */
const MAX_PAGES = 1_000;

/** All pages of a list. @param path may have a query. @param key the list's name in the answer. */
export async function readList(
  http: CloudHttp,
  what: string,
  path: string,
  key: string,
  options: CallOptions = {},
  kind: CallKind = 'look',
): Promise<{ items: Record<string, unknown>[]; pages: number }> {
  const list: Record<string, unknown>[] = [];
  const start = `${path}${path.includes('?') ? '&' : '?'}per_page=${PAGE_SIZE}`;
  let page: number | null = 1;
  for (let pages = 1; pages <= MAX_PAGES; pages++) {
    const body = fields(await http.read(what, `${start}&page=${page}`, options, kind));
    list.push(...(items(body[key]) ?? lacking(key)));
    page = numeric(fields(fields(body.meta).pagination).next_page) ?? null;
    if (page === null) return { items: list, pages };
  }
  return lacking(`${key} that end`);
}

function lacking(key: string): never {
  throw new ProviderError('UNAVAILABLE', `Hetzner answered no list of ${key}. Trying again may help.`, {
    retryable: true,
  });
}
