import type { CloudHttp } from '../cloud-http.ts';
import {
  type CallKind,
  type CallOptions,
  type ListOptions,
  OPERATION_LABEL,
  ProviderError,
  type ProviderServer,
} from '../contract.ts';
import { fields, items, text } from '../wire.ts';
import { chooseAddress, readServer, toProviderServer, type UpcloudServer } from './servers.ts';

/** The most that one page holds. */
const PAGE_SIZE = 100;
/** Servers of one account at most; past that something else is wrong. */
const MAX_PAGES = 1_000;

/** One server with its address and age; null when it does not exist. */
export async function readOne(http: CloudHttp, uuid: string, options: CallOptions): Promise<UpcloudServer | null> {
  try {
    const body = await http.read('look at the server', `/1.3/server/${encodeURIComponent(uuid)}`, options);
    return readServer(fields(body).server) ?? lacking('server');
  } catch (error) {
    if (error instanceof ProviderError && error.code === 'NOT_FOUND') return null;
    throw error;
  }
}

/**
 * Every server with our operation label, or every one at all, with addresses.
 * @returns with the number of calls that one listing takes.
 * @param how `wanted`: these must not be missed. Pages shift when servers go while they are read, so what is absent from
 * a listing of several pages is believed to be gone only when a second listing lacks it too.
 */
export async function listServers(
  http: CloudHttp,
  options: ListOptions = {},
  how: { kind: CallKind; wanted: ReadonlySet<string> },
): Promise<{ servers: ProviderServer[]; calls: number }> {
  const first = await readPages(http, options, how.kind);
  const servers = first.servers;
  const missed = () => [...how.wanted].some((ref) => !servers.has(ref));
  if (first.pages > 1 && missed()) {
    for (const [uuid, server] of (await readPages(http, options, how.kind)).servers) servers.set(uuid, server);
  }
  // After the servers: what was in the first list has its addresses in the second.
  const addresses = servers.size === 0 ? new Map() : await readAddresses(http, options, how.kind);
  return {
    calls: first.pages + 1,
    servers: [...servers.values()]
      .filter((server) => options.unlabelled === true || server.labels.has(OPERATION_LABEL))
      .map((server) => toProviderServer(server, addresses.get(server.uuid) ?? null)),
  };
}

async function readPages(http: CloudHttp, options: ListOptions, kind: CallKind) {
  const servers = new Map<string, UpcloudServer>();
  for (let pages = 1; pages <= MAX_PAGES; pages++) {
    const labelled = options.unlabelled === true ? '' : `label=${OPERATION_LABEL}&`;
    const query = `${labelled}limit=${PAGE_SIZE}&offset=${(pages - 1) * PAGE_SIZE}`;
    const body = await http.read('list the servers', `/1.3/server/?${query}`, options, kind);
    const page = items(fields(fields(body).servers).server) ?? lacking('list of servers');
    const known = servers.size;
    for (const server of page.map(readServer)) if (server !== null) servers.set(server.uuid, server);
    // An API that does not know about pages answers everything at once, and the same again.
    if (page.length !== PAGE_SIZE || servers.size === known) return { servers, pages };
  }
  return lacking('list of servers that ends');
}

/** The best address of each server. */
async function readAddresses(http: CloudHttp, options: CallOptions, kind: CallKind): Promise<Map<string, string>> {
  const body = await http.read('list the addresses', '/1.3/ip_address', options, kind);
  const list = items(fields(fields(body).ip_addresses).ip_address) ?? lacking('list of addresses');
  const byServer = Map.groupBy(list, (address) => text(address.server) ?? '');
  return new Map(
    [...byServer].flatMap(([server, addresses]): [string, string][] => {
      const address = chooseAddress(addresses);
      return address === null ? [] : [[server, address]];
    }),
  );
}

function lacking(what: string): never {
  throw new ProviderError('UNAVAILABLE', `UpCloud answered no ${what}. Trying again may help.`, { retryable: true });
}
