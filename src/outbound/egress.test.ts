/** Which addresses the policy allows, for each purpose and with each setting. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  createEgressPolicy,
  type EgressPurpose,
  type EgressSettings,
  type Resolve,
  readAllowedNetwork,
} from './egress.ts';

const PURPOSES: EgressPurpose[] = ['webhook', 'check', 'host', 'issuer'];
const policy = (allow: string[] = [], settings: Partial<EgressSettings> = {}, resolve?: Resolve) =>
  createEgressPolicy({ allow: allow.map(readAllowedNetwork), private: [], local: [], ...settings }, resolve);

const PUBLIC = ['1.1.1.1', '172.32.0.1', '100.128.0.1', '[2606:4700::1111]', '::ffff:1.1.1.1', 'example.com'];
const PRIVATE = ['10.1.2.3', '172.16.0.1', '172.31.255.255', '192.168.1.1', 'fd12::1', 'fc00::1', '::ffff:10.1.2.3'];
const LOCAL = [
  '127.0.0.1',
  '127.255.0.1',
  '[::1]',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '0.0.0.0',
  '::',
  '169.254.0.1',
  'fe80::1',
  'fe80::1%lo',
  'fe80::1%no-such-interface',
];
const METADATA = [
  '169.254.169.254',
  '[::ffff:a9fe:a9fe]',
  '168.63.129.16',
  '100.100.100.200',
  'fd00:ec2::254',
  'fd00:ec2::254%1',
  '[fd00:ec2::254%eth0]',
  '::ffff:169.254.169.254%lo',
  'fe80::a9fe:a9fe',
  'fe80::a9fe:a9fe%eth0',
  '192.0.0.192',
];
const NEVER = [
  ...['100.64.0.1', '192.0.2.1', '198.18.0.1', '203.0.113.9', '224.0.0.1', '239.1.1.1', '240.0.0.1', '255.255.255.255'],
  ...['ff02::1', '64:ff9b::1.1.1.1', '64:ff9b::127.0.0.1', '64:ff9b::169.254.169.254', '64:ff9b:1::10.0.0.1'],
  ...[
    '::ffff:0:127.0.0.1',
    '::7f00:1',
    '2002:7f00:1::',
    '2002:101:101::',
    '2001::1',
    '2001:db8::1',
    'fec0::1',
    '4000::1',
  ],
];

function expectRefused(egress: ReturnType<ReturnType<typeof policy>>, addresses: string[], refused: boolean) {
  for (const address of addresses) assert.equal(egress.refusal(address) !== null, refused, address);
}

for (const purpose of PURPOSES) {
  test(`public addresses alone are allowed by themselves: ${purpose}`, () => {
    const egress = policy()(purpose, 'default');
    expectRefused(egress, PUBLIC, false);
    expectRefused(egress, [...PRIVATE, ...LOCAL, ...METADATA, ...NEVER], true);
  });

  test(`private and local networks are allowed by purpose, metadata services and the rest are not: ${purpose}`, () => {
    const others = PURPOSES.filter((other) => other !== purpose);
    const egress = policy([], { private: [purpose], local: [purpose] });
    expectRefused(egress(purpose, 'default'), [...PUBLIC, ...PRIVATE, ...LOCAL], false);
    expectRefused(egress(purpose, 'default'), [...METADATA, ...NEVER], true);
    for (const other of others) expectRefused(egress(other, 'default'), [...PRIVATE, ...LOCAL], true);
  });
}

describe('an allowed network', () => {
  test('counts for all purposes, in one workspace or in all', () => {
    const egress = policy(['198.18.0.0/15', 'staging=100.64.0.0/10', '2001:db8::7']);
    for (const purpose of PURPOSES) {
      expectRefused(egress(purpose, 'staging'), ['198.18.0.1', '100.64.0.1', '2001:db8::7'], false);
      expectRefused(egress(purpose, 'default'), ['198.18.0.1', '2001:db8::7'], false);
      expectRefused(egress(purpose, 'default'), ['100.64.0.1', '2001:db8::8'], true);
      expectRefused(egress(purpose, null), ['100.64.0.1'], true);
    }
  });

  test('does not open the metadata service that lies in it', () => {
    const wide = policy(['0.0.0.0/0', '::/0'])('host', null);
    expectRefused(wide, [...PUBLIC, ...PRIVATE, ...LOCAL, '100.64.0.1'], false);
    expectRefused(wide, [...METADATA, '64:ff9b::169.254.169.254'], true);
    expectRefused(policy(['169.254.169.254/16'])('host', null), ['169.254.169.254'], true);
    expectRefused(policy(['169.254.169.254'])('host', null), ['169.254.169.254'], false);
  });

  test('opens an address of translation only where it opens what it stands for', () => {
    const egress = policy(['64:ff9b::/96', '2002::/16'])('check', null);
    expectRefused(egress, ['64:ff9b::1.1.1.1', '2002:101:101::'], false);
    expectRefused(egress, ['64:ff9b::127.0.0.1', '64:ff9b::10.0.0.1', '2002:7f00:1::'], true);
  });

  test('is refused in words where it cannot be read', () => {
    for (const text of ['all', '10.0.0.0/33', '10.1/16', 'staging=', '2001:db8::/129', '1']) {
      assert.throws(() => readAllowedNetwork(text), /is not a network/, text);
    }
  });
});

test('of several addresses of a name only those allowed are dialled', () => {
  const both: Resolve = (_name, _options, callback) =>
    callback(null, [
      { address: '10.0.0.1', family: 4 },
      { address: '1.1.1.1', family: 4 },
    ]);
  policy(
    [],
    {},
    both,
  )('webhook', null).lookup('several.example', { all: true }, (error, addresses) => {
    assert.equal(error, null);
    assert.deepEqual(addresses, [{ address: '1.1.1.1', family: 4 }]);
  });
});
