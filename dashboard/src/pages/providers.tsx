import { NativeSelect, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { PageHead, Surface } from '../components/page.tsx';
import { Empty, Failure, Heading, Loading } from '../components/states.tsx';
import { plansOf, providers, zonesOf } from '../queries.ts';

const GIB = 1_024;

export function ProvidersPage() {
  const { data, error, refetch } = useQuery(providers);
  if (error !== null) return <Failure error={error} onRetry={() => void refetch()} />;
  if (data === undefined) return <Loading />;
  return (
    <Stack gap="sm">
      <PageHead title="Providers" about="The enabled providers, with their current plans and zones." />
      {data.length === 0 ? (
        <Empty title="No provider is enabled">
          Configure the credentials of a provider, or list it in PROVISIONING_PROVIDERS.
        </Empty>
      ) : null}
      {data.map(({ name }) => (
        <Provider key={name} name={name} />
      ))}
    </Stack>
  );
}

/** Plans with their prices in the zone that stands in the address, or the first. */
function Provider({ name }: { name: string }) {
  const search: Record<string, string | undefined> = useSearch({ strict: false });
  const navigate = useNavigate();
  const plans = useQuery(plansOf(name));
  const zones = useQuery(zonesOf(name));
  const error = plans.error ?? zones.error;
  const zone = zones.data?.find((one) => one.name === search[name])?.name ?? zones.data?.[0]?.name ?? '';
  const priced = plans.data?.some(({ prices }) => prices !== undefined) === true;
  return (
    <Stack gap="xs">
      <Heading>{name}</Heading>
      {error === null ? null : (
        <Failure
          error={error}
          onRetry={() => {
            void plans.refetch();
            void zones.refetch();
          }}
        />
      )}
      {plans.isPending || zones.isPending ? <Loading /> : null}
      {zones.data === undefined ? null : (
        <NativeSelect
          size="xs"
          maw={320}
          label={priced ? 'Zone for the prices' : 'Zones'}
          value={zone}
          onChange={(event) =>
            void navigate({ to: '.', search: { ...search, [name]: event.currentTarget.value }, replace: true })
          }
          data={zones.data.map((one) => ({ value: one.name, label: `${one.name} · ${one.description}` }))}
        />
      )}
      {plans.data === undefined ? null : (
        <Surface label={`Plans of ${name}`}>
          <table className="plain-table">
            <thead>
              <tr>
                <th scope="col">Plan</th>
                <th scope="col" style={{ width: '17%' }}>
                  CPUs
                </th>
                <th scope="col" style={{ width: '23%' }}>
                  Memory
                </th>
                <th scope="col" className="from-sm">
                  Disk
                </th>
                {priced ? <th scope="col">Per month</th> : null}
              </tr>
            </thead>
            <tbody>
              {plans.data.map((plan) => (
                <tr key={plan.name}>
                  <td>{plan.name}</td>
                  <Cell>{plan.cpus}</Cell>
                  <Cell>{plan.memory_mb / GIB} GiB</Cell>
                  <td className="from-sm">{plan.storage_gb === null ? '–' : `${plan.storage_gb} GiB`}</td>
                  {priced ? <Cell>{priceText(plan.prices?.[zone])}</Cell> : null}
                </tr>
              ))}
            </tbody>
          </table>
        </Surface>
      )}
      {priced || plans.data === undefined ? null : (
        <Text size="xs" c="dimmed">
          This provider publishes no prices.
        </Text>
      )}
    </Stack>
  );
}

function Cell({ children }: { children: ReactNode }) {
  return <td style={{ fontVariantNumeric: 'tabular-nums' }}>{children}</td>;
}

function priceText(price: { monthly: number; currency: string | null } | undefined): string {
  return price === undefined ? '–' : `${price.monthly.toFixed(2)} ${price.currency ?? ''}`;
}
