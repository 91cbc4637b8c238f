/** What the catalog's tests install, and how they use it. */
import { type HostOptions, IMAGE } from './catalog-host.ts';

/** Stands in every secret; nobody but root may find it on a host. */
export const CANARY = 'canary-8f3a91';

export interface Case {
  name: string;
  config?: Record<string, unknown>;
  /** A shell command on the host that uses the service ($CANARY is set), and what its output must hold. */
  use: [command: string, expected: RegExp];
  /** The daemon's name, as `ps -o comm` shows it; undefined where there is none. */
  daemon?: string;
  /** Its packages are so large that it is left out of the short form. */
  large?: true;
  /** Of the container that it needs. */
  host?: Partial<HostOptions>;
  /** Of what it requires. */
  configs?: Record<string, Record<string, unknown>>;
}

/** A container image of one program, made on the host: nothing is pulled. */
const IMAGE_TREE =
  'apt-get install -qq busybox-static >/dev/null 2>&1; mkdir -p /tmp/tree/bin; cp /bin/busybox /tmp/tree/bin; cd /tmp/tree';

/** Longest first, so that none of them is left over when all others are done. */
export const CASES: Case[] = [
  {
    name: 'docker',
    large: true,
    config: { storage_driver: 'vfs', address_pools: ['10.201.0.0/16,24'] },
    configs: { containerd: { snapshotter: 'native' } },
    use: [
      `${IMAGE_TREE}; tar -cf - . | docker import - demo:1 >/dev/null; docker run --rm demo:1 /bin/busybox ip addr;
       ctr run --rm --rootfs /tmp/tree demo /bin/busybox echo hello from containerd`,
      /inet 10\.201\.0\.2\/24[\s\S]*hello from containerd/,
    ],
    daemon: 'dockerd',
    host: { privileged: true },
  },
  {
    name: 'podman',
    large: true,
    config: { storage_driver: 'vfs', api_socket: true },
    use: [
      `${IMAGE_TREE}; tar -cf - . | podman import --quiet - demo:1 >/dev/null;
       podman run --rm --network none demo:1 /bin/busybox echo hello from podman;
       curl -s --unix-socket /run/podman/podman.sock http://podman/images/json`,
      /hello from podman[\s\S]*"localhost\/demo:1"/,
    ],
    daemon: 'podman',
    host: { privileged: true },
  },
  {
    name: 'rabbitmq',
    large: true,
    config: { password: CANARY, vhost: 'app' },
    use: ['rabbitmqctl --quiet list_permissions -p app', /provisioning\s+\.\*\s+\.\*\s+\.\*/],
    daemon: 'beam.smp',
  },
  {
    name: 'mariadb',
    large: true,
    config: { user: 'app', database: 'app', password: CANARY },
    use: [
      "MYSQL_PWD=$CANARY mariadb -h 127.0.0.1 -u app app -Ne 'create table t (n int); insert into t values (42); select n from t'",
      /^42$/m,
    ],
    daemon: 'mariadbd',
  },
  {
    name: 'postgresql',
    config: { user: 'app', database: 'app', password: CANARY },
    use: [
      "PGPASSWORD=$CANARY psql -h 127.0.0.1 -U app -Atc 'create table t as select 42 as n; select n from t' app",
      /^42$/m,
    ],
    daemon: 'postgres',
  },
  {
    name: 'prometheus',
    large: true,
    config: { targets: ['node=127.0.0.1:9100'] },
    use: ['curl -s "http://127.0.0.1:9090/api/v1/status/config"', /job_name: node\\n/],
    daemon: 'prometheus',
  },
  {
    name: 'redis',
    config: { password: CANARY, appendonly: true, maxmemory: '64mb' },
    // Of an image without package lists, as the first install on a fresh machine finds it.
    host: { image: IMAGE },
    use: ['REDISCLI_AUTH=$CANARY redis-cli config get maxmemory', /^maxmemory\n67108864\n$/],
    daemon: 'redis-server',
  },
  {
    name: 'etcd',
    use: ['ETCDCTL_API=3 etcdctl put greeting hello && ETCDCTL_API=3 etcdctl get greeting', /^OK\ngreeting\nhello\n$/],
    daemon: 'etcd',
  },
  {
    name: 'mosquitto',
    config: { user: 'app', password: CANARY },
    use: ['mosquitto_pub -t x -m y 2>&1 || true', /not authorised/],
    daemon: 'mosquitto',
  },
  {
    name: 'nats',
    config: { user: 'app', password: CANARY, jetstream: true },
    use: ['curl -s http://127.0.0.1:8222/varz', /"auth_required": true[\s\S]*"jetstream"/],
    daemon: 'nats-server',
  },
  {
    name: 'nginx',
    config: { port: 8080, index_page: 'hello $HOME `id`' },
    use: ['curl -s http://127.0.0.1:8080/', /^hello \$HOME `id`\n$/],
    daemon: 'nginx',
  },
  {
    name: 'node-exporter',
    config: { disable: ['netclass'] },
    use: ['curl -s http://127.0.0.1:9100/metrics', /^node_memory_MemTotal_bytes \d/m],
    // Of `prometheus-node-exporter`, the kernel keeps 15 characters.
    daemon: 'prometheus-node',
  },
  {
    name: 'memcached',
    use: [
      `bash -c 'exec 3<>/dev/tcp/127.0.0.1/11211; printf "set k 0 0 2\\r\\n42\\r\\nget k\\r\\nquit\\r\\n" >&3; cat <&3'`,
      /STORED\r\nVALUE k 0 2\r\n42\r\nEND/,
    ],
    daemon: 'memcached',
  },
];
