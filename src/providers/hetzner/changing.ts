import type { CloudHttp } from '../cloud-http.ts';
import { type MutationOptions, ProviderError, type ServerLabels } from '../contract.ts';
import { isLabelled, relabelled } from '../labels.ts';
import { fields, text } from '../wire.ts';
import { type Catalog, typeFor } from './catalog.ts';

/** Gives the server these labels in place of its own. @throws NOT_FOUND. */
export async function labelServer(
  http: CloudHttp,
  installation: string,
  ref: string,
  wanted: ServerLabels,
  options: MutationOptions,
): Promise<void> {
  const path = `/v1/servers/${encodeURIComponent(ref)}`;
  const { server } = fields(await http.read('look at the server', path, options));
  const current = new Map(
    Object.entries(fields(fields(server).labels)).map(([key, value]) => [key, text(value) ?? ''] as const),
  );
  const labels = relabelled(current, wanted, installation);
  if (isLabelled(current, labels)) return;
  await http.change('label the server', 'PUT', path, { labels: Object.fromEntries(labels) }, options);
}

/** Changes the type of a server that is off; its disk stays as it is. @throws INVALID_REQUEST, CONFLICT, NOT_FOUND. */
export async function resizeServer(
  http: CloudHttp,
  catalog: Catalog,
  ref: string,
  { plan, zone }: { plan: string; zone: string },
  options: MutationOptions,
): Promise<void> {
  const type = typeFor(plan, zone, catalog);
  if (type === undefined) {
    throw new ProviderError('INVALID_REQUEST', `Hetzner has no plan "${plan}" in ${zone}.`, { retryable: false });
  }
  const path = `/v1/servers/${encodeURIComponent(ref)}/actions/change_type`;
  await http.change('change the plan', 'POST', path, { server_type: type.name, upgrade_disk: false }, options);
}
