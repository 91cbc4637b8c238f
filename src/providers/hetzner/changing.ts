import type { CloudHttp } from '../cloud-http.ts';
import type { MutationOptions, ServerLabels } from '../contract.ts';
import { isLabelled, PLAN_LABEL, relabelled } from '../labels.ts';
import { fields, text } from '../wire.ts';
import type { Actions } from './actions.ts';
import type { Catalog } from './catalog.ts';
import { requireType } from './request.ts';
import { TYPE_LABEL } from './servers.ts';

/** Gives the server these labels in place of its own. @throws NOT_FOUND. */
export async function labelServer(
  http: CloudHttp,
  installation: string,
  ref: string,
  wanted: ServerLabels,
  options: MutationOptions,
): Promise<void> {
  const { labels: current } = await readServer(http, ref, options);
  await setLabels(http, ref, current, relabelled(current, wanted, installation), options);
}

const pathOf = (ref: string) => `/v1/servers/${encodeURIComponent(ref)}`;

async function readServer(http: CloudHttp, ref: string, options: MutationOptions) {
  const server = fields(fields(await http.read('look at the server', pathOf(ref), options)).server);
  const labels = Object.entries(fields(server.labels)).map(([key, value]): [string, string] => [
    key,
    text(value) ?? '',
  ]);
  return { labels: new Map(labels), type: text(fields(server.server_type).name), status: text(server.status) };
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
 * is. Hetzner then starts it. @throws INVALID_REQUEST, CONFLICT, NOT_FOUND.
 */
export async function resizeServer(
  http: CloudHttp,
  actions: Actions,
  catalog: Catalog,
  ref: string,
  { plan, zone }: { plan: string; zone: string },
  options: MutationOptions,
): Promise<void> {
  const type = requireType({ plan, zone }, catalog);
  const before = await readServer(http, ref, options);
  const body = { server_type: type.name, upgrade_disk: false };
  if (before.type !== type.name || before.status !== 'off') {
    const answer = await http.change('change the plan', 'POST', `${pathOf(ref)}/actions/change_type`, body, options);
    await actions.done(answer, 'change the plan', options);
  }
  const labels = new Map([...before.labels, [PLAN_LABEL, plan], [TYPE_LABEL, type.name]]);
  await setLabels(http, ref, before.labels, labels, options);
}
