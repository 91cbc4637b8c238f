import { type MutationOptions, ProviderError, type ServerLabels } from '../contract.ts';
import { isLabelled, PLAN_LABEL, relabelled } from '../labels.ts';
import { type Catalog, typeFor } from './catalog.ts';
import { type Aws, isAwsCode } from './client.ts';
import { readTags, TYPE_LABEL } from './instances.ts';

/** Gives the server these tags in place of its own, but for its name. @throws NOT_FOUND. */
export async function labelServer(
  aws: Aws,
  ref: string,
  wanted: ServerLabels,
  options: MutationOptions,
): Promise<void> {
  const current = await readTags(aws, ref, options);
  const labels = relabelled(current, wanted, aws.settings.installation);
  if (isLabelled(current, labels)) return;
  const Resources = [ref];
  await addTags(aws, ref, labels, options);
  const gone = [...current.keys()].filter((key) => !labels.has(key)).map((Key) => ({ Key }));
  if (gone.length === 0) return;
  await aws.change(
    'label the server',
    ({ sdk, client, abortSignal }) =>
      client.send(new sdk.DeleteTagsCommand({ Resources, Tags: gone }), { abortSignal }),
    options,
  );
}

async function addTags(
  aws: Aws,
  ref: string,
  labels: Iterable<readonly [string, string]>,
  options: MutationOptions,
): Promise<void> {
  const Tags = [...labels].map(([Key, Value]) => ({ Key, Value }));
  await aws.change(
    'label the server',
    ({ sdk, client, abortSignal }) =>
      client.send(new sdk.CreateTagsCommand({ Resources: [ref], Tags }), { abortSignal }),
    options,
  );
}

/**
 * Changes the type of an instance that is stopped, and the tag that keeps the plan as it was asked for.
 * @throws INVALID_REQUEST, CONFLICT, NOT_FOUND.
 */
export async function resizeServer(
  aws: Aws,
  catalog: Catalog,
  ref: string,
  { plan, zone }: { plan: string; zone: string },
  options: MutationOptions,
): Promise<void> {
  const type = typeFor(plan, zone, catalog);
  if (type === undefined) {
    throw new ProviderError('INVALID_REQUEST', `AWS has no plan "${plan}" in ${zone}.`, { retryable: false });
  }
  try {
    await aws.change(
      'change the plan',
      ({ sdk, client, abortSignal }) =>
        client.send(new sdk.ModifyInstanceAttributeCommand({ InstanceId: ref, InstanceType: { Value: type.name } }), {
          abortSignal,
        }),
      options,
    );
  } catch (error) {
    // EC2 says of a terminated instance that it is not stopped, and of one that it has forgotten that nobody may change it.
    if (isAwsCode(error, 'IncorrectInstanceState', 'UnauthorizedOperation')) await readTags(aws, ref, options);
    throw error;
  }
  const current = await readTags(aws, ref, options);
  if (current.get(PLAN_LABEL) === plan && current.get(TYPE_LABEL) === type.name) return;
  await addTags(
    aws,
    ref,
    [
      [PLAN_LABEL, plan],
      [TYPE_LABEL, type.name],
    ],
    options,
  );
}
