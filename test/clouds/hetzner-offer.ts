/**
 * What the stand-in for Hetzner Cloud offers: locations, server types and images. Field by field as in
 * hcloud-go/hcloud/schema (location.go, server_type.go, pricing.go, image.go); the types are few, and one of each kind.
 */

export const LOCATIONS = [
  { name: 'fsn1', city: 'Falkenstein', latitude: 50.47612, longitude: 12.370071, country: 'DE' },
  { name: 'nbg1', city: 'Nuremberg', latitude: 49.452102, longitude: 11.076665, country: 'DE' },
  { name: 'hel1', city: 'Helsinki', latitude: 60.169855, longitude: 24.938379, country: 'FI' },
].map((place, index) => ({
  ...{ id: index + 1, description: `${place.city} DC Park 1`, network_zone: 'eu-central' },
  ...place,
}));

const DEPRECATION = { announced: '2025-10-16T06:00:00Z', unavailable_after: '2026-01-01T00:00:00Z' };

const money = (net: number) => ({ net: net.toFixed(10), gross: (net * 1.19).toFixed(10) });
const price = (location: string, hourly: number) => ({
  location,
  price_hourly: money(hourly),
  price_monthly: money(hourly * 600),
  included_traffic: 21_990_232_555_520,
  price_per_tb_traffic: money(1),
});

/** How a type stands in a location: to be had, sold out at the moment, or going away. */
type Standing = 'here' | 'sold out' | 'deprecated';

interface Offer {
  name: string;
  cores: number;
  memory: number;
  disk: number;
  architecture?: 'arm';
  hourly: number;
  at: Partial<Record<'fsn1' | 'nbg1' | 'hel1', Standing>>;
}

const OFFERS: Offer[] = [
  // Of the same size: one that goes away everywhere, one that is sold out in a place, and one that can be had.
  {
    ...{ name: 'cx22', cores: 2, memory: 4, disk: 40, hourly: 0.006 },
    at: { fsn1: 'deprecated', nbg1: 'deprecated', hel1: 'deprecated' },
  },
  {
    ...{ name: 'cx23', cores: 2, memory: 4, disk: 40, hourly: 0.005 },
    at: { fsn1: 'sold out', nbg1: 'here', hel1: 'here' },
  },
  {
    name: 'cpx22',
    cores: 2,
    memory: 4,
    disk: 80,
    hourly: 0.01,
    at: { fsn1: 'here', nbg1: 'here', hel1: 'deprecated' },
  },
  { name: 'cpx21', cores: 3, memory: 4, disk: 80, hourly: 0.011, at: { fsn1: 'here', nbg1: 'here' } },
  { name: 'cax11', cores: 2, memory: 4, disk: 40, architecture: 'arm', hourly: 0.0053, at: { fsn1: 'here' } },
  { name: 'cx33', cores: 4, memory: 8, disk: 80, hourly: 0.011, at: { fsn1: 'here', nbg1: 'here' } },
  // Sold out wherever there is one.
  { name: 'ccx13', cores: 2, memory: 8, disk: 80, hourly: 0.02, at: { fsn1: 'sold out' } },
];

export const TYPES = OFFERS.map(({ at, hourly, architecture = 'x86', ...type }, index) => {
  const places = LOCATIONS.filter(({ name }) => name in at);
  const gone = Object.values(at).every((standing) => standing === 'deprecated');
  return {
    ...{ id: index + 101, ...type, architecture, description: type.name.toUpperCase(), category: 'cost_optimized' },
    ...{ storage_type: 'local', cpu_type: 'shared', included_traffic: null },
    deprecated: gone,
    deprecation: gone ? DEPRECATION : null,
    prices: places.map(({ name }) => price(name, hourly)),
    locations: places.map(({ id, name }) => ({
      ...{ id, name, recommended: Reflect.get(at, name) === 'here', available: Reflect.get(at, name) === 'here' },
      deprecation: Reflect.get(at, name) === 'deprecated' ? DEPRECATION : null,
    })),
  };
});

export interface FakeImage {
  id: number;
  type: string;
  status: string;
  name: string | null;
  description: string;
  architecture: string;
  labels: Record<string, string>;
  created_from: { id: number; name: string } | null;
}

export const systemImages = (): FakeImage[] =>
  ['debian-12', 'ubuntu-24.04', 'rocky-9', 'alma-9', 'centos-stream-9'].flatMap((name, place) =>
    ['x86', 'arm'].map((architecture, half) => ({
      ...{ id: 100 + place * 2 + half, type: 'system', status: 'available', name, description: name, architecture },
      ...{ labels: {}, created_from: null },
    })),
  );

export function shownImage(image: FakeImage): Record<string, unknown> {
  const [flavor = '', version = null] = (image.name ?? 'debian-12').split(/-(?=[\d.]+$)/);
  return {
    ...image,
    ...{
      os_flavor: flavor,
      os_version: version,
      rapid_deploy: image.type === 'system',
      disk_size: 5,
      image_size: null,
    },
    ...{ created: '2026-01-01T00:00:00+00:00', deleted: null, deprecated: null, deprecation: null, bound_to: null },
    protection: { delete: false },
  };
}

/** GET /pricing, as far as anybody reads it. */
export const PRICING = {
  ...{ currency: 'EUR', vat_rate: '19.00' },
  image: { price_per_gb_month: money(0.01) },
  floating_ip: { price_monthly: money(3) },
  floating_ips: ['ipv4', 'ipv6'].map((type) => ({
    type,
    prices: LOCATIONS.map(({ name }) => ({ location: name, price_monthly: money(3) })),
  })),
  primary_ips: ['ipv4', 'ipv6'].map((type) => ({
    type,
    prices: LOCATIONS.map(({ name }) => ({
      location: name,
      ...{ price_hourly: money(type === 'ipv4' ? 0.0008 : 0), price_monthly: money(type === 'ipv4' ? 0.5 : 0) },
    })),
  })),
  traffic: { price_per_tb: money(0) },
  server_backup: { percentage: '20.0000000000' },
  server_types: TYPES.map(({ id, name, prices }) => ({ id, name, prices })),
  load_balancer_types: [],
  volume: { price_per_gb_month: money(0.04) },
};
