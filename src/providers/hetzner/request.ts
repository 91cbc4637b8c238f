import { cloudInit } from '../cloud-init.ts';
import { planProblems, userDataProblems, zoneProblems } from '../cloud-spec.ts';
import {
  INSTALLATION_LABEL,
  OPERATION_LABEL,
  ProviderError,
  type ServerSpec,
  type SpecProblem,
  WORKSPACE_LABEL,
} from '../contract.ts';
import { DEFAULT_IMAGE, nearestImages } from '../images.ts';
import { hostnameProblems, type LabelRules, labelOf, PLAN_LABEL, tagProblems } from '../labels.ts';
import { nearestPlans } from '../plan-names.ts';
import { type Catalog, imageFor, isSoldOut, type ServerType, typeFor } from './catalog.ts';
import { HOSTNAME_LABEL, TYPE_LABEL } from './servers.ts';

/** Hetzner takes this much user data, in bytes, and lets root in with the key itself. */
const USER_DATA = { rootKey: false, limit: 32_768, compressed: 'base64' } as const;
/** A server's name has 63 characters at most; the operation takes 13 of them. */
const MAX_HOSTNAME_PART = 50;
const LABEL_RULES: LabelRules = {
  key: /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/,
  value: /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/,
  words: 'Hetzner wants keys and values of at most 63 letters, digits and . _ -, with a letter or digit at both ends',
};

/** Everything wrong with the spec for what Hetzner offers. */
export function specProblems(spec: ServerSpec, catalog: Catalog): SpecProblem[] {
  const zone = zoneProblems('Hetzner', spec, catalog.zones);
  const plan = planProblems('Hetzner', spec, catalog.plans);
  return [
    ...zone,
    ...plan,
    ...(zone.length + plan.length === 0 ? offerProblems(spec, catalog) : []),
    ...networkProblems(spec),
    ...userDataProblems('Hetzner', spec, USER_DATA),
    ...hostnameProblems(spec),
    ...tagProblems(spec, LABEL_RULES),
  ];
}

/** Not every plan is offered in every zone, and not every image for every processor. */
function offerProblems(spec: ServerSpec, catalog: Catalog): SpecProblem[] {
  const type = typeFor(spec.plan, spec.zone, catalog);
  if (type === undefined) {
    const here = catalog.plans.filter(({ name }) => typeFor(name, spec.zone, catalog) !== undefined);
    const message = isSoldOut(spec.plan, spec.zone, catalog)
      ? soldOutWords(spec)
      : `Hetzner does not offer the plan "${spec.plan}" in ${spec.zone}.`;
    return [{ field: 'plan', message, near_matches: nearestPlans(spec.plan, here) }];
  }
  const image = spec.image ?? DEFAULT_IMAGE;
  if (imageFor(image, type.architecture, catalog) !== undefined) return [];
  const known = catalog.images
    .filter(({ architecture }) => architecture === type.architecture)
    .flatMap(({ neutral }) => neutral ?? []);
  const message = `Hetzner has no image "${image}" for the processors of ${type.name} (${type.architecture}).`;
  return [{ field: 'image', message, near_matches: nearestImages(image, [...new Set(known)].toSorted()) }];
}

/** The server type that a plan becomes. @throws CAPACITY_EXHAUSTED where it is sold out, INVALID_REQUEST where it is not offered. */
export function requireType(wanted: { plan: string; zone: string }, catalog: Catalog): ServerType {
  const { plan, zone } = wanted;
  const type = typeFor(plan, zone, catalog);
  if (type !== undefined) return type;
  if (isSoldOut(plan, zone, catalog)) {
    const words = `${soldOutWords(wanted)} Choose another zone or plan.`;
    throw new ProviderError('CAPACITY_EXHAUSTED', words, { retryable: false });
  }
  throw new ProviderError('INVALID_REQUEST', `Hetzner has no plan "${plan}" in ${zone}.`, { retryable: false });
}

function soldOutWords({ plan, zone }: { plan: string; zone: string }): string {
  return `At Hetzner, the plan "${plan}" is sold out in ${zone} at the moment.`;
}

function networkProblems({ networks }: ServerSpec): SpecProblem[] {
  const problem = (message: string): SpecProblem => ({ field: 'networks', message, near_matches: ['public'] });
  // Hetzner makes such a server, and cannot start it.
  if (networks?.length === 0) return [problem('A server at Hetzner needs public or the number of a network.')];
  return (networks ?? [])
    .filter((network) => network !== 'public' && !/^\d{1,15}$/.test(network))
    .map((network) => problem(`"${network}" is neither public nor the number of a network at Hetzner.`));
}

/** Unique for the operation, and as much of the host name as there is room for: two creates at once make one server. */
function serverName(spec: ServerSpec, operationId: string): string {
  const part = spec.hostname.slice(0, MAX_HOSTNAME_PART).replace(/[.-]+$/, '');
  return `${part}-${operationId.replaceAll('-', '').slice(-12)}`.toLowerCase();
}

/** The body that creates a server. @throws ProviderError INVALID_REQUEST where plan or image are not offered any more, CAPACITY_EXHAUSTED. */
export function createBody(
  spec: ServerSpec,
  operationId: string,
  installation: string,
  catalog: Catalog,
  keyId: number | null,
): Record<string, unknown> {
  const type = requireType(spec, catalog);
  const image = imageFor(spec.image ?? DEFAULT_IMAGE, type.architecture, catalog);
  if (image === undefined) {
    const what = `image "${spec.image ?? DEFAULT_IMAGE}"`;
    throw new ProviderError('INVALID_REQUEST', `Hetzner has no ${what}.`, { retryable: false });
  }
  const networks = spec.networks ?? ['public'];
  const isPublic = networks.includes('public');
  return {
    name: serverName(spec, operationId),
    server_type: type.name,
    location: spec.zone,
    image: Number(image.id),
    ssh_keys: keyId === null ? [] : [keyId],
    user_data: cloudInit(spec, USER_DATA).toString(),
    labels: {
      [OPERATION_LABEL]: operationId,
      [INSTALLATION_LABEL]: installation,
      [WORKSPACE_LABEL]: spec.workspace,
      [PLAN_LABEL]: spec.plan,
      [TYPE_LABEL]: type.name,
      [HOSTNAME_LABEL]: spec.hostname,
      ...Object.fromEntries(spec.tags.map(labelOf).map(({ key, value }) => [key, value])),
    },
    networks: networks.filter((network) => network !== 'public').map(Number),
    public_net: { enable_ipv4: isPublic, enable_ipv6: isPublic },
    start_after_create: true,
  };
}
