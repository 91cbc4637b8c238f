/** The stand-in for EC2, and what the provider asks of it, as Amazon's own clients and their description of EC2 see them. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { createAwsProvider } from '../../src/providers/aws/provider.ts';
import { AWS_REGION } from '../../src/providers/cloud-settings.ts';
import { untilObserved } from '../../src/providers/observer.ts';
import { startFakeAws } from '../clouds/aws.ts';
import { COMMON, HOST_KEY, permitted, specsIn } from '../contracts/cloud.testsuite.ts';
import { AWS_PACKAGES } from './aws-packages.ts';
import { openPython } from './python.ts';

const { skip, python, versions } = await openPython(AWS_PACKAGES);
const script = (name: string) => new URL(name, import.meta.url).pathname;
const NEVER = new AbortController().signal;

test(`boto3 leads a server through its whole life at the stand-in (${versions})`, { skip }, async () => {
  await using fake = await startFakeAws({ rights: 'all', settle: { create: 300, stop: 300, start: 300, remove: 300 } });
  const { accessKeyId: KEY, secretAccessKey: SECRET } = fake.credentials;
  const said = await python.run([script('boto3_life.py')], { env: { ENDPOINT: fake.endpoint, KEY, SECRET } });
  assert.deepEqual(JSON.parse(said), {
    ...{ newest: 'debian-12-amd64-20240901-1857', deprecated: 1, types: ['t3.small', 't3.medium', 't3.nano'] },
    ...{ dry: ['DryRunOperation', 0, 'DryRunOperation'], only: true, pages: [5, 2], tagged: 1 },
    token: [true, 'IdempotentParameterMismatch', 'IdempotentInstanceTerminated'],
    ...{ running_resize: 'IncorrectInstanceState', protected: 'OperationNotPermitted' },
    final: ['running', 't3.medium', 'mine'],
    ended: ['terminated', 'Client.UserInitiatedShutdown'],
    errors: {
      unknown: 'InvalidInstanceID.NotFound',
      malformed: 'InvalidInstanceID.Malformed',
      image: 'InvalidAMIID.NotFound',
      key: 'InvalidKeyPair.NotFound',
      filter: 'InvalidParameterValue',
      secret: 'AuthFailure',
    },
  });
  assert.deepEqual([fake.alive().length, fake.keys.size], [0, 0]);
});

test(`the AWS CLI leads a server through its whole life at the stand-in (${versions})`, { skip }, async () => {
  await using fake = await startFakeAws({ rights: 'all' });
  const { accessKeyId, secretAccessKey } = fake.credentials;
  const env = {
    ...{ AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_PAGER: '' },
    ...{ AWS_DEFAULT_REGION: fake.region, AWS_DEFAULT_OUTPUT: 'text', AWS_ENDPOINT_URL: fake.endpoint },
  };
  const aws = async (...args: string[]) => (await python.run(['-m', 'awscli', 'ec2', ...args], { env })).trim();
  const image = await aws('describe-images', '--owners', '099720109477', '--query', 'Images[0].ImageId');
  const id = await aws(
    ...['run-instances', '--image-id', image, '--instance-type', 't2.micro', '--query', 'Instances[0].InstanceId'],
    ...['--tag-specifications', 'ResourceType=instance,Tags=[{Key=env,Value=prod}]'],
  );
  await aws('wait', 'instance-running', '--instance-ids', id);
  await aws('stop-instances', '--instance-ids', id);
  await aws('wait', 'instance-stopped', '--instance-ids', id);
  await aws('modify-instance-attribute', '--instance-id', id, '--instance-type', 'Value=t2.small');
  await aws('start-instances', '--instance-ids', id);
  await aws('wait', 'instance-running', '--instance-ids', id);
  const query = 'Reservations[].Instances[].[InstanceType,State.Name,Tags[0].Value]';
  assert.equal(await aws('describe-instances', '--instance-ids', id, '--query', query), 't2.small\trunning\tprod');
  await assert.rejects(aws('terminate-instances', '--dry-run', '--instance-ids', id), /DryRunOperation/);
  await aws('terminate-instances', '--instance-ids', id);
  await aws('wait', 'instance-terminated', '--instance-ids', id);
  await assert.rejects(aws('describe-instances', '--instance-ids', 'i-00000000'), /InvalidInstanceID\.NotFound/);
  assert.equal(fake.alive().length, 0);
});

test(`what provider and stand-in say to each other is of EC2's description (${versions})`, { skip }, async () => {
  const heard: { request: string; status: number; answer: unknown }[] = [];
  await using fake = await startFakeAws({
    heard: ({ text }, { status, body }) => heard.push({ request: text, status, answer: body }),
  });
  const { endpoint, region, credentials } = fake;
  const settings = { endpoint, region, credentials, ...COMMON };
  const provider = createAwsProvider({ ...settings, securityGroups: ['sg-0a1b2c3d4e5f60718'] });
  const spec = specsIn('eu-central-1a');
  const options = permitted();
  await provider.validate(spec({ image: 'ami-0000000000000deb1' }));
  const wanted = spec({ tags: ['env=prod', 'blue'], ssh_host_key: HOST_KEY, user_data: '#!/bin/sh\ntrue' });
  const { ref } = await provider.ensureServer(wanted, options);
  const inSubnet = spec({ networks: ['public', 'subnet-0a1b2c3d4e5f60710'], plan: 't4g.medium' });
  const other = await provider.ensureServer(inSubnet, permitted());
  await untilObserved(provider, ref, (server) => server?.status === 'running', NEVER);
  await provider.restartServer(ref, options);
  await provider.stopServer(ref, options);
  await untilObserved(provider, ref, (server) => server?.status === 'stopped', NEVER);
  await provider.resizeServer?.(ref, { plan: '1xCPU-1GB', zone: 'eu-central-1a' }, options);
  const labels = { operationId: options.operationId, workspace: 'w', tags: ['green'] };
  await provider.labelServer?.(ref, labels, options);
  await provider.startServer(ref, options);
  await provider.listServers({ unlabelled: true });
  await provider.readServer?.(ref);
  for (const each of [ref, other.ref]) await provider.deleteServer(each, options);
  await untilObserved(provider, ref, (server) => server === null, NEVER);
  fake.instances.clear();
  await provider.deleteServer(ref, options);
  fake.ending.launches = { code: 'Client.VolumeLimitExceeded', message: 'Client.VolumeLimitExceeded: too many' };
  const ended = await provider.ensureServer(spec(), { ...options, operationId: randomUUID() });
  await untilObserved(provider, ended.ref, (server) => server === null, NEVER);
  assert.equal((await provider.whyGone?.(ended.ref))?.code, 'QUOTA_EXCEEDED');
  await provider.close?.();
  const actions = new Set(heard.map(({ request }) => /Action=(\w+)/.exec(request)?.[1]));
  assert.ok(actions.size >= 12 && heard.some(({ status }) => status === 403), [...actions].join(' '));
  assert.deepEqual(JSON.parse(await python.run([script('ec2_wire.py')], { input: JSON.stringify(heard) })), []);
});

test(`every region that Amazon has can be set (${versions})`, { skip }, async () => {
  const code =
    'import json,botocore.session as s; f=s.get_session().get_component("endpoint_resolver"); ' +
    'print(json.dumps([r for p in f.get_available_partitions() for r in f.get_available_endpoints("ec2", p)]))';
  const regions: string[] = JSON.parse(await python.run(['-c', code]));
  assert.ok(regions.length > 30 && regions.includes('eusc-de-east-1'), String(regions));
  assert.deepEqual(
    regions.filter((region) => !new RegExp(AWS_REGION).test(region)),
    [],
  );
});
