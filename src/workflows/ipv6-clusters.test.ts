/** Addresses of nodes that have IPv6 alone, in the URLs that the built-in types make of them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { render } from './expressions/template.ts';

interface Definition {
  operations: { id: string; with: { config: string; env: Record<string, string> } }[];
}

const NODES = [
  { id: 'srv-1', hostname: 'c-1', ip_address: '2001:db8::1', tags: ['cluster:c'] },
  { id: 'srv-2', hostname: 'c-2', ip_address: '192.0.2.2', tags: ['cluster:c'] },
];
const config = { token: 't', initial_cluster: [] };
const CONTEXT = {
  parameters: {
    cluster_name: 'c',
    config: {},
    control_plane_count: 1,
    node_count: 2,
    hostname: 'c-1',
    like: 'c-2',
    leader: 'c-1',
  },
  secrets: { k3s_token: 't', kubeadm_token: 't', certificate_key: 'k' },
  operations: {
    nodes: NODES.map((result, place) => ({ item: place + 1, result })),
    node: { result: NODES[0] ?? null },
    ca: { result: { hosts: [{ output: 'sha256:aa' }] } },
  },
  servers: NODES,
  taskservs: ['etcd', 'k3s'].map((name) => ({ name, servers: ['c-1', 'c-2'], config })),
  item: { address: '2001:db8::1' },
};

function operation(type: string, id: string): Definition['operations'][number]['with'] {
  const file = path.join(import.meta.dirname, 'types', `${type}.yaml`);
  const found = (parse(readFileSync(file, 'utf8')) as Definition).operations.find((each) => each.id === id);
  assert.ok(found !== undefined, `${type} has no ${id}`);
  return found.with;
}
const made = (type: string, id: string) => render(operation(type, id).config, CONTEXT) as Record<string, unknown>;

test('an IPv6 address stands in brackets wherever it is part of a URL, and an IPv4 address does not', () => {
  const members = ['c-1=http://[2001:db8::1]:2380', 'c-2=http://192.0.2.2:2380'];
  assert.deepEqual(made('cluster_create', 'etcd').initial_cluster, members);
  assert.deepEqual(made('cluster_grow', 'etcd').initial_cluster, members.toReversed());
  for (const [type, ids] of [
    ['cluster_create', ['k3s_servers', 'k3s_agents']],
    ['cluster_grow', ['agent']],
  ] as const) {
    for (const id of ids) assert.equal(made(type, id).server_url, 'https://[2001:db8::1]:6443', id);
  }
  for (const id of ['kubernetes', 'kubernetes_servers', 'kubernetes_workers']) {
    assert.equal(made('cluster_create', id).control_plane_endpoint, '[2001:db8::1]:6443', id);
  }
  for (const [type, id] of [
    ['cluster_grow', 'announce'],
    ['cluster_scale', 'leave_etcd'],
  ] as const) {
    assert.equal(render(operation(type, id).env.ADDRESS ?? '', CONTEXT), '[2001:db8::1]', id);
  }
});
