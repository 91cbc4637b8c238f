import type { CloudHttp } from '../cloud-http.ts';
import { type MutationOptions, ProviderError, type ServerLabels } from '../contract.ts';
import { isLabelled, PLAN_LABEL, relabelled } from '../labels.ts';
import { fields, text } from '../wire.ts';
import { type Catalog, typeFor } from './catalog.ts';
import { TYPE_LABEL } from './servers.ts';

/** Gives the server these labels in place of its own. @throws NOT_FOUND. */
export async function labelServer(
  http: CloudHttp,
  installation: string,
  ref: string,
  wanted: ServerLabels,
  options: MutationOptions,
): Promise<void> {
  const current = await readLabels(http, ref, options);
  await setLabels(http, ref, current, relabelled(current, wanted, installation), options);
}

const pathOf = (ref: string) => `/v1/servers/${encodeURIComponent(ref)}`;

async function readLabels(http: CloudHttp, ref: string, options: MutationOptions): Promise<Map<string, string>> {
  const { server } = fields(await http.read('look at the server', pathOf(ref), options));
  return new Map(Object.entries(fields(fields(server).labels)).map(([key, value]) => [key, text(value) ?? '']));
}

async function setLabels(
  http: CloudHttp,
  ref: string,
  current: ReadonlyMap<string, string>,
  labels: ReadonlyMap<string, string>,
  options: MutationOptions,
): Promise<void> {
  if (isLabelled(current, labels)) return;
  await http.change('label the server', 'PUT', pathOf(ref), { labels: Object.fromEntries(labels) }, options);
}

/**
 * Changes the type of a server that is off, and the label that keeps the plan as it was asked for; its disk stays as it
 * is. @throws INVALID_REQUEST, CONFLICT, NOT_FOUND.
 */
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
  const path = `${pathOf(ref)}/actions/change_type`;
  await http.change('change the plan', 'POST', path, { server_type: type.name, upgrade_disk: false }, options);
  const current = await readLabels(http, ref, options);
  const labels = new Map([...current, [PLAN_LABEL, plan], [TYPE_LABEL, type.name]]);
  await setLabels(http, ref, current, labels, options);
}
