import type { BlockDeviceMapping, Image, RunInstancesCommandInput, Tag } from '@aws-sdk/client-ec2';
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
import { type Catalog, KNOWN_IMAGES, typeFor } from './catalog.ts';
import type { AwsSettings } from './client.ts';
import { NAME_TAG, TYPE_LABEL } from './instances.ts';

/** EC2 takes this much user data, in bytes, and lets in the user that the image has, not root. */
const USER_DATA = { rootKey: true, limit: 16_384, compressed: 'gzip' } as const;
const LABEL_RULES: LabelRules = {
  key: /^(?!aws:)(?!Name$).{1,128}$/,
  value: /^.{0,256}$/,
  words: 'AWS wants keys of at most 128 and values of at most 256 characters, and keeps "aws:…" and "Name" for itself',
};

/** Everything wrong with the spec for what the region offers. @param image what was found under the image's name. */
export function specProblems(spec: ServerSpec, catalog: Catalog, image: Image | null): SpecProblem[] {
  const place = [...zoneProblems('AWS', spec, catalog.zones), ...planProblems('AWS', spec, catalog.plans)];
  return [
    ...place,
    ...(place.length === 0 ? offerProblems(spec, catalog) : []),
    ...(image === null ? imageProblems(spec) : processorProblems(spec, catalog, image)),
    ...networkProblems(spec),
    ...userDataProblems('AWS', spec, USER_DATA),
    ...hostnameProblems(spec),
    ...tagProblems(spec, LABEL_RULES),
  ];
}

function offerProblems(spec: ServerSpec, catalog: Catalog): SpecProblem[] {
  if (typeFor(spec.plan, spec.zone, catalog) !== undefined) return [];
  const here = catalog.plans.filter(({ name }) => typeFor(name, spec.zone, catalog) !== undefined);
  const message = `AWS does not offer the plan "${spec.plan}" in ${spec.zone}.`;
  return [{ field: 'plan', message, near_matches: nearestPlans(spec.plan, here) }];
}

function imageProblems({ image }: ServerSpec): SpecProblem[] {
  const name = image ?? DEFAULT_IMAGE;
  const message = `AWS has no image "${name}" in this region. Use a known name or the id of an image (ami-…).`;
  return [{ field: 'image', message, near_matches: nearestImages(name, KNOWN_IMAGES) }];
}

/** An image of another processor than the plan's does not boot. */
function processorProblems({ plan, zone, image: name }: ServerSpec, catalog: Catalog, image: Image): SpecProblem[] {
  const { architecture } = typeFor(plan, zone, catalog) ?? {};
  const { Architecture: builtFor = architecture } = image;
  // What else there is (i386) runs on some types of x86: EC2 knows.
  if (architecture === undefined || (builtFor === 'arm64') === (architecture === 'arm64')) return [];
  const message = `The image "${name}" is made for ${builtFor}, and the plan "${plan}" runs ${architecture}.`;
  return [{ field: 'image', message, near_matches: KNOWN_IMAGES.slice(0, 3) }];
}

function networkProblems({ networks }: ServerSpec): SpecProblem[] {
  const subnets = (networks ?? []).filter((network) => !['public', 'private'].includes(network));
  return subnets
    .filter((network, place) => place > 0 || !/^subnet-[0-9a-f]+$/.test(network))
    .map((network) => ({
      field: 'networks',
      message: `"${network}" is neither public nor private nor the id of the one subnet (subnet-…) of a server.`,
      near_matches: ['public', 'private'],
    }));
}

/**
 * The request that makes one instance. With the same operation and spec it is the same request, but for a newer image.
 * @throws ProviderError INVALID_REQUEST where the plan is not offered any more.
 */
export function runInput(
  spec: ServerSpec,
  operationId: string,
  catalog: Catalog,
  image: Image | null,
  settings: Pick<AwsSettings, 'installation' | 'securityGroups'>,
): RunInstancesCommandInput {
  const type = typeFor(spec.plan, spec.zone, catalog);
  if (type === undefined || image?.ImageId === undefined) {
    const what = type === undefined ? `plan "${spec.plan}" in ${spec.zone}` : `image "${spec.image ?? DEFAULT_IMAGE}"`;
    throw new ProviderError('INVALID_REQUEST', `AWS has no ${what}.`, { retryable: false });
  }
  const tags: Tag[] = [
    { Key: NAME_TAG, Value: spec.hostname },
    { Key: OPERATION_LABEL, Value: operationId },
    { Key: INSTALLATION_LABEL, Value: settings.installation },
    { Key: WORKSPACE_LABEL, Value: spec.workspace },
    { Key: PLAN_LABEL, Value: spec.plan },
    { Key: TYPE_LABEL, Value: type.name },
    ...spec.tags.map(labelOf).map(({ key, value }) => ({ Key: key, Value: value })),
  ];
  return {
    ClientToken: operationId,
    MinCount: 1,
    MaxCount: 1,
    ImageId: image.ImageId,
    InstanceType: type.name,
    Placement: { AvailabilityZone: spec.zone },
    UserData: cloudInit(spec, USER_DATA).toString('base64'),
    MetadataOptions: { HttpTokens: 'required' },
    BlockDeviceMappings: [rootDisk(image)],
    TagSpecifications: (['instance', 'volume', 'network-interface'] as const).map((kind) => ({
      ResourceType: kind,
      Tags: tags,
    })),
    ...networkOf(spec, settings.securityGroups),
  };
}

/** As large as the image's. It goes with the server, whatever the image says. */
function rootDisk({
  RootDeviceName: name = '/dev/xvda',
  BlockDeviceMappings: mappings = [],
}: Image): BlockDeviceMapping {
  const { VolumeSize } = mappings.find(({ DeviceName }) => DeviceName === name)?.Ebs ?? {};
  return { DeviceName: name, Ebs: { DeleteOnTermination: true, VolumeSize } };
}

function networkOf({ networks }: ServerSpec, securityGroups: readonly string[]): Partial<RunInstancesCommandInput> {
  const groups = securityGroups.length === 0 ? undefined : [...securityGroups];
  if (!networks) return { SecurityGroupIds: groups };
  return {
    NetworkInterfaces: [
      {
        DeviceIndex: 0,
        SubnetId: networks.find((network) => network.startsWith('subnet-')),
        AssociatePublicIpAddress: networks.includes('public'),
        DeleteOnTermination: true,
        Groups: groups,
      },
    ],
  };
}
