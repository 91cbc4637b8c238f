import { cloudInit, hostKeyConfig } from '../cloud-init.ts';
import { planProblems, userDataProblem, userDataProblems, zoneProblems } from '../cloud-spec.ts';
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
import { readText, readUserData } from '../user-data.ts';
import type { Catalog, Template, UpcloudPlan } from './catalog.ts';
import { diskTitle, SENT_LABEL } from './servers.ts';

/** A server with a plan that brings no disk gets one of this size. Gibibytes. */
const DEFAULT_DISK_GB = 25;
/** UpCloud takes this much user data, in bytes, and lets root in with the key itself. */
const USER_DATA = { rootKey: false, limit: 65_535, compressed: null } as const;
const LABEL_RULES: LabelRules = {
  key: /^[A-Za-z0-9][A-Za-z0-9._:/-]{1,31}$/,
  value: /^[\x20-\x7e]{0,255}$/,
  words: 'UpCloud wants keys of 2 to 32 characters and values of at most 255',
};

/** Everything wrong with the spec for what UpCloud offers. */
export function specProblems(spec: ServerSpec, catalog: Catalog): SpecProblem[] {
  return [
    ...zoneProblems('UpCloud', spec, catalog.zones),
    ...planProblems('UpCloud', spec, catalog.plans),
    ...imageProblems(spec, catalog),
    ...networkProblems(spec),
    ...ownDataProblems(spec, catalog),
    ...hostnameProblems(spec),
    ...tagProblems(spec, LABEL_RULES),
  ];
}

function imageProblems(spec: ServerSpec, catalog: Catalog): SpecProblem[] {
  const name = spec.image ?? DEFAULT_IMAGE;
  const template = findTemplate(name, catalog);
  if (template !== undefined && (template.zone === null || template.zone === spec.zone)) return [];
  const known = [...new Set(catalog.templates.flatMap((each) => each.neutral ?? []))].toSorted();
  return [
    {
      field: 'image',
      message:
        template === undefined
          ? `UpCloud has no template for the image "${name}".`
          : `The template "${name}" lies in zone ${template.zone}, not in ${spec.zone}.`,
      near_matches: nearestImages(name, known),
    },
  ];
}

function networkProblems({ networks }: ServerSpec): SpecProblem[] {
  return (networks ?? [])
    .filter((network) => !['public', 'private'].includes(network) && !/^[0-9a-f-]{36}$/.test(network))
    .map((network) => ({
      field: 'networks',
      message: `"${network}" is neither public nor private nor the UUID of a network at UpCloud.`,
      near_matches: ['public', 'private'],
    }));
}

function findTemplate(name: string, { templates }: Catalog): Template | undefined {
  return templates.find((template) => template.neutral === name || template.uuid === name);
}

/**
 * The body that creates a server. @throws ProviderError INVALID_REQUEST where plan or image are not there any more.
 */
export function createBody(
  spec: ServerSpec,
  operationId: string,
  installation: string,
  catalog: Catalog,
): Record<string, unknown> {
  const plan = catalog.plans.find((known) => known.name === spec.plan);
  const image = spec.image ?? DEFAULT_IMAGE;
  const template = findTemplate(image, catalog);
  if (plan === undefined || template === undefined) {
    const what = plan === undefined ? `plan "${spec.plan}"` : `template for the image "${image}"`;
    throw new ProviderError('INVALID_REQUEST', `UpCloud has no ${what}.`, { retryable: false });
  }
  const key = spec.ssh_public_key ?? null;
  const userData = userDataFor(spec, template);
  const sent = new Date().toISOString();
  return {
    server: {
      zone: spec.zone,
      title: spec.hostname,
      hostname: spec.hostname,
      plan: plan.native_name,
      metadata: 'yes',
      ...(userData === null ? {} : { user_data: userData }),
      password_delivery: 'none',
      login_user: {
        create_password: 'no',
        username: 'root',
        ...(key === null ? {} : { ssh_keys: { ssh_key: [key] } }),
      },
      labels: { label: labelsOf(spec, operationId, installation, sent) },
      networking: { interfaces: { interface: interfacesOf(spec.networks ?? ['public']) } },
      storage_devices: { storage_device: [diskOf(spec, plan, template, sent)] },
    },
  };
}

function labelsOf(
  spec: ServerSpec,
  operationId: string,
  installation: string,
  sent: string,
): { key: string; value: string }[] {
  return [
    { key: OPERATION_LABEL, value: operationId },
    { key: INSTALLATION_LABEL, value: installation },
    { key: WORKSPACE_LABEL, value: spec.workspace },
    { key: PLAN_LABEL, value: spec.plan },
    { key: SENT_LABEL, value: sent },
    ...spec.tags.map(labelOf),
  ];
}

/** Each server has an address in UpCloud's own private network, besides what it is asked for. */
function interfacesOf(networks: readonly string[]): Record<string, unknown>[] {
  const v4 = { ip_address: [{ family: 'IPv4' }] };
  return [
    ...(networks.includes('public') ? [{ type: 'public', ip_addresses: v4 }] : []),
    { type: 'utility', ip_addresses: v4 },
    ...networks
      .filter((network) => network !== 'public' && network !== 'private')
      .map((network) => ({ type: 'private', network, ip_addresses: v4 })),
  ];
}

function diskOf(spec: ServerSpec, plan: UpcloudPlan, template: Template, sent: string): Record<string, unknown> {
  return {
    action: 'clone',
    storage: template.uuid,
    title: diskTitle(spec.hostname, sent),
    size: Math.max(plan.storage_gb ?? DEFAULT_DISK_GB, template.size),
    ...(plan.tier === null ? {} : { tier: plan.tier }),
  };
}

/** Whether a server of this spec gets its host key: not where its template has no cloud-init, or is not known. */
export function givesHostKey(spec: ServerSpec, catalog: Catalog): boolean {
  return findTemplate(spec.image ?? DEFAULT_IMAGE, catalog)?.native === false;
}

function ownDataProblems(spec: ServerSpec, catalog: Catalog): SpecProblem[] {
  if (findTemplate(spec.image ?? DEFAULT_IMAGE, catalog)?.native !== true) {
    return userDataProblems('UpCloud', spec, USER_DATA, () => forCloudInit(spec));
  }
  const text = readText(spec.user_data ?? '');
  if (typeof text !== 'string') return [userDataProblem(text.problem)];
  const length = Buffer.byteLength(text);
  if (length <= USER_DATA.limit) return [];
  return [userDataProblem(`UpCloud takes at most ${USER_DATA.limit} bytes of user data. This is ${length}.`)];
}

/** On what has no cloud-init, UpCloud itself runs the user's script, or fetches it where it is an address, and that alone. */
function userDataFor(spec: ServerSpec, { native }: Template): string | null {
  if (!spec.user_data) return native ? null : hostKeyConfig(spec);
  if (!native) return forCloudInit(spec).toString();
  const text = readText(spec.user_data);
  if (typeof text === 'string') return text;
  throw new ProviderError('INVALID_REQUEST', `The user data cannot be used: ${text.problem}`, { retryable: false });
}

/** The host name is set by UpCloud as well: what would be too long with it goes alone, as it is. */
function forCloudInit(spec: ServerSpec): Buffer {
  const whole = cloudInit(spec, USER_DATA);
  const own = readUserData(spec.user_data);
  const alone = whole.length > USER_DATA.limit && !spec.ssh_host_key && own !== null && 'form' in own;
  return alone ? Buffer.from(own.text) : whole;
}
