import type { CloudHttp } from '../cloud-http.ts';
import { type MutationOptions, ProviderError, type ServerLabels } from '../contract.ts';
import { isLabelled, relabelled } from '../labels.ts';
import { readOne } from './listing.ts';

/** Gives the server these labels in place of its own. @throws NOT_FOUND. */
export async function labelServer(
  http: CloudHttp,
  installation: string,
  ref: string,
  wanted: ServerLabels,
  options: MutationOptions,
): Promise<void> {
  const server = await readOne(http, ref, options);
  if (server === null) {
    throw new ProviderError('NOT_FOUND', `UpCloud has no server ${ref}.`, { retryable: false, details: { ref } });
  }
  const labels = relabelled(server.labels, wanted, installation);
  if (isLabelled(server.labels, labels)) return;
  const label = [...labels].map(([key, value]) => ({ key, value }));
  await modify(http, 'label the server', ref, { labels: { label } }, options);
}

/** Changes the plan of a server that is stopped; its disk stays as it is. @throws CONFLICT, NOT_FOUND. */
export async function resizeServer(
  http: CloudHttp,
  ref: string,
  { plan }: { plan: string },
  options: MutationOptions,
): Promise<void> {
  await modify(http, 'change the plan', ref, { plan }, options);
}

async function modify(http: CloudHttp, what: string, ref: string, server: object, options: MutationOptions) {
  await http.change(what, 'PUT', `/1.3/server/${encodeURIComponent(ref)}`, { server }, options);
}
