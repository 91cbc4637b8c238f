import type { Instance } from '@aws-sdk/client-ec2';
import { sleep } from '../../util/sleep.ts';
import {
  type CallKind,
  type CallOptions,
  INSTALLATION_LABEL,
  OPERATION_LABEL,
  ProviderError,
  type ProviderServer,
  type ProviderServerStatus,
  WORKSPACE_LABEL,
} from '../contract.ts';
import { PLAN_LABEL, tagsOf } from '../labels.ts';
import type { Aws, AwsSettings } from './client.ts';
import { endedError, listed } from './errors.ts';

/** The instance type that the plan became: when it is another one later, that one is shown. */
export const TYPE_LABEL = 'provisioning-type';
/** Tag that the console shows as the instance's name. */
export const NAME_TAG = 'Name';
/** Tags that start so are Amazon's own (of Auto Scaling, CloudFormation, …): nobody can set them. */
const RESERVED_TAG = 'aws:';
const LISTING_LAG_MS = 20_000;
/** The most that one page holds. */
const PAGE_SIZE = 1_000;

const STATUS = new Map<string, ProviderServerStatus>([
  ['pending', 'creating'],
  ['running', 'running'],
  ['stopping', 'stopping'],
  ['stopped', 'stopped'],
  ['shutting-down', 'deleting'],
]);

/** Null for what is no server any more: terminated ones are listed for an hour. */
export function toProviderServer(instance: Instance): ProviderServer | null {
  const { InstanceId: ref, State: state, InstanceType: type = '' } = instance;
  if (ref === undefined || state?.Name === undefined || state.Name === 'terminated') return null;
  const labels = new Map((instance.Tags ?? []).map(({ Key = '', Value = '' }) => [Key, Value]));
  const name = labels.get(NAME_TAG);
  labels.delete(NAME_TAG);
  return {
    ref,
    hostname: name ?? ref,
    plan: (labels.get(TYPE_LABEL) === type ? labels.get(PLAN_LABEL) : undefined) ?? type,
    zone: instance.Placement?.AvailabilityZone ?? '',
    status: STATUS.get(state.Name) ?? 'unknown',
    ip_address: instance.PublicIpAddress || instance.Ipv6Address || instance.PrivateIpAddress || null,
    operation_id: labels.get(OPERATION_LABEL) ?? null,
    workspace: labels.get(WORKSPACE_LABEL) ?? null,
    installation: labels.get(INSTALLATION_LABEL) ?? null,
    tags: tagsOf(labels, RESERVED_TAG),
  };
}

/** The tags of one instance, but for its name. @throws NOT_FOUND. */
export async function readTags(aws: Aws, ref: string, options: CallOptions): Promise<Map<string, string>> {
  const instance = await requireInstance(aws, ref, options);
  const tags = (instance.Tags ?? []).map(({ Key = '', Value = '' }): [string, string] => [Key, Value]);
  return new Map(tags.filter(([key]) => key !== NAME_TAG && !key.startsWith(RESERVED_TAG)));
}

/** @throws NOT_FOUND where it is terminated, being terminated, or unknown. */
export async function requireInstance(aws: Aws, ref: string, options: CallOptions): Promise<Instance> {
  const instance = await findAlive(aws, ref, options);
  if (instance !== null) return instance;
  throw new ProviderError('NOT_FOUND', `AWS has no server ${ref} any more.`, { retryable: false, details: { ref } });
}

/**
 * An instance that is not terminated nor about to be; null: there is none. A list may not show yet what was just made, so one that
 * it lacks is looked for again when it cannot be behind any more.
 */
export async function findAlive(aws: Aws, ref: string, options: CallOptions): Promise<Instance | null> {
  const filter = { Name: 'instance-id', Values: [ref] };
  let instance = await readInstance(aws, filter, options);
  if (instance === undefined) {
    options.onWait?.(`AWS does not show the server ${ref}: looking again, its lists may be behind.`);
    await sleep(listingLagMs(aws.settings), options.signal);
    instance = await readInstance(aws, filter, options);
  }
  const state = instance?.State?.Name;
  return instance === undefined || state === 'terminated' || state === 'shutting-down' ? null : instance;
}

/** How far behind its lists may be. */
export function listingLagMs(settings: AwsSettings): number {
  return settings.listingLagMs ?? LISTING_LAG_MS;
}

/** The instance that a filter lets through, also one that is terminated; undefined: there is none. */
async function readInstance(
  aws: Aws,
  filter: { Name: string; Values: string[] },
  options: CallOptions,
): Promise<Instance | undefined> {
  const page = await aws.ask(
    'look at the server',
    ({ sdk, client, abortSignal }) =>
      client.send(new sdk.DescribeInstancesCommand({ Filters: [filter] }), { abortSignal }),
    options,
  );
  return listed('list of servers', page.Reservations).flatMap(({ Instances: found }) => found ?? [])[0];
}

/** Why an instance has ended by itself, by its id or its operation's; null where somebody terminated it. */
export async function whyGone(
  aws: Aws,
  { ref, operationId = '' }: { ref?: string; operationId?: string },
  options: CallOptions,
): Promise<ProviderError | null> {
  const filter =
    ref === undefined
      ? { Name: `tag:${OPERATION_LABEL}`, Values: [operationId] }
      : { Name: 'instance-id', Values: [ref] };
  const instance = await readInstance(aws, filter, options);
  return instance?.StateReason === undefined ? null : endedError(instance.InstanceId ?? '', instance.StateReason);
}

/** Every instance that a filter lets through (null: all), page by page. */
export async function describe(
  aws: Aws,
  filter: { Name: string; Values: string[] } | null,
  options: CallOptions = {},
  kind: CallKind = 'look',
): Promise<{ servers: ProviderServer[]; pages: number }> {
  const servers: ProviderServer[] = [];
  let token: string | undefined;
  let pages = 0;
  do {
    const page = await aws.ask(
      'list the servers',
      ({ sdk, client, abortSignal }) =>
        client.send(
          new sdk.DescribeInstancesCommand({
            ...(filter === null ? {} : { Filters: [filter] }),
            MaxResults: PAGE_SIZE,
            NextToken: token,
          }),
          {
            abortSignal,
          },
        ),
      options,
      kind,
    );
    pages += 1;
    for (const { Instances: instances } of listed('list of servers', page.Reservations)) {
      servers.push(...(instances ?? []).map(toProviderServer).filter((server) => server !== null));
    }
    token = page.NextToken;
  } while (token);
  return { servers, pages };
}
