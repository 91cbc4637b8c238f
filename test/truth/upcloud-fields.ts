/**
 * Fields of UpCloud's API 1.3 and what they hold, as facts: answers after the structures into which upcloud-go-api 8.38 reads them
 * (upcloud/server.go, storage.go, plan.go, zone.go, ip_address.go, network.go), requests after those that it sends
 * (upcloud/request/server.go, storage.go), and what only upcloud-api 2.9.0 sends or the recorded traffic has, as noted.
 */

/** A number, a text, a number as text, anything, or what is inside. */
type Shape = 'number' | 'text' | 'digits' | 'yes/no' | '*' | { [field: string]: Shape } | [Shape];

const label: Shape = { key: 'text', value: 'text' };
const labels: Shape = { label: [label] };
const address: Shape = {
  ...{
    access: 'text',
    address: 'text',
    family: 'text',
    part_of_plan: 'yes/no',
    ptr_record: 'text',
    server: 'text',
    mac: 'text',
  },
  ...{ floating: 'yes/no', zone: 'text', dhcp_provided: 'yes/no', release_policy: 'text' },
};
const device: Shape = {
  ...{
    address: 'text',
    storage_encrypted: 'yes/no',
    labels: [label],
    part_of_plan: 'yes/no',
    storage: 'text',
    storage_size: 'number',
  },
  ...{ storage_tier: 'text', storage_title: 'text', type: 'text', boot_disk: 'digits' },
};
const listed: { [field: string]: Shape } = {
  ...{
    core_number: 'digits',
    hostname: 'text',
    license: 'number',
    memory_amount: 'digits',
    plan: 'text',
    progress: 'digits',
    state: 'text',
  },
  ...{ tags: { tag: ['text'] }, title: 'text', uuid: 'text', zone: 'text' },
  // Lists show labels (recorded traffic), and may show when it was made.
  ...{ created: 'number', labels },
};
const nic: Shape = {
  ...{
    index: 'number',
    ip_addresses: { ip_address: [address] },
    mac: 'text',
    network: 'text',
    type: 'text',
    bootable: 'yes/no',
  },
  source_ip_filtering: 'yes/no',
};
const server: Shape = {
  ...listed,
  ...{
    boot_order: 'text',
    firewall: 'text',
    host: 'number',
    ip_addresses: { ip_address: [address] },
    metadata: 'yes/no',
    password: 'text',
  },
  ...{
    nic_model: 'text',
    networking: { interfaces: { interface: [nic] } },
    server_group: 'text',
    simple_backup: 'text',
  },
  ...{
    storage_devices: { storage_device: [device] },
    timezone: 'text',
    video_model: 'text',
    remote_access_enabled: 'yes/no',
  },
  ...{
    remote_access_type: 'text',
    remote_access_host: 'text',
    remote_access_password: 'text',
    remote_access_port: 'digits',
  },
  // Recorded traffic of a create.
  username: 'text',
};
const storage: Shape = {
  ...{
    access: 'text',
    encrypted: 'yes/no',
    license: 'number',
    part_of_plan: 'yes/no',
    size: 'number',
    state: 'text',
    template_type: 'text',
    tier: 'text',
  },
  ...{
    title: 'text',
    type: 'text',
    uuid: 'text',
    zone: 'text',
    origin: 'text',
    created: 'text',
    labels: [label],
    backup_rule: '*',
  },
  ...{ backups: { backup: ['text'] }, servers: { server: ['text'] } },
};
const plan: Shape = {
  ...{
    core_number: 'number',
    memory_amount: 'number',
    name: 'text',
    public_traffic_out: 'number',
    storage_size: 'number',
    storage_tier: 'text',
  },
  ...{ gpu_amount: 'number', gpu_model: 'text' },
};
const zone: Shape = { id: 'text', description: 'text', public: 'yes/no', parent_zone: 'text' };

/** What an answer of success holds, by its outer field. */
export const ANSWERS: Record<string, Shape> = {
  server,
  servers: { server: [listed] },
  storage,
  storages: { storage: [storage] },
  plans: { plan: [plan] },
  zones: { zone: [zone] },
  prices: { zone: ['*'] },
  ip_addresses: { ip_address: [address] },
};

const created: Shape = {
  ...{
    hostname: 'text',
    labels,
    metadata: 'yes/no',
    password_delivery: 'text',
    plan: 'text',
    title: 'text',
    user_data: 'text',
    zone: 'text',
  },
  login_user: { create_password: 'yes/no', username: 'text', ssh_keys: { ssh_key: ['text'] } },
  networking: {
    interfaces: {
      interface: [
        { type: 'text', network: 'text', ip_addresses: { ip_address: [{ family: 'text', address: 'text' }] } },
      ],
    },
  },
  storage_devices: {
    storage_device: [{ action: 'text', storage: 'text', title: 'text', size: 'number', tier: 'text' }],
  },
};

/** What a request holds, by method and the end of its path. */
export const REQUESTS: [RegExp, Shape][] = [
  [/^POST \/1\.3\/server$/, { server: created }],
  [/^PUT \/1\.3\/server\/[0-9a-f-]{36}$/, { server: { labels, plan: 'text' } }],
  [/^POST \/1\.3\/server\/[0-9a-f-]{36}\/start$/, { server: {} }],
  [/^POST \/1\.3\/server\/[0-9a-f-]{36}\/stop$/, { stop_server: { stop_type: 'text', timeout: 'digits' } }],
  [
    /^POST \/1\.3\/server\/[0-9a-f-]{36}\/restart$/,
    { restart_server: { stop_type: 'text', timeout: 'digits', timeout_action: 'text' } },
  ],
  [/^POST \/1\.3\/server\/[0-9a-f-]{36}\/storage\/detach$/, { storage_device: { address: 'text' } }],
];

/** @returns what of the value is not as the shape says. */
export function differences(value: unknown, shape: Shape, at: string): string[] {
  if (shape === '*') return [];
  if (Array.isArray(shape)) {
    if (!Array.isArray(value)) return [`${at} is no list`];
    return value.flatMap((each) => differences(each, shape[0], `${at}[]`));
  }
  if (typeof shape === 'object') {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return [`${at} is no object`];
    return Object.entries(value).flatMap(([name, each]) => {
      const inside = shape[name];
      return inside === undefined ? [`${at} has ${name}`] : differences(each, inside, `${at}.${name}`);
    });
  }
  const fits = {
    number: () => typeof value === 'number',
    text: () => typeof value === 'string',
    digits: () => typeof value === 'string' && /^\d+$/.test(value),
    'yes/no': () => value === 'yes' || value === 'no',
  }[shape];
  return fits() ? [] : [`${at} is ${JSON.stringify(value)}, not ${shape}`];
}
