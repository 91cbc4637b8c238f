import { Stack, Table, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Failure, Loading } from '../components/states.tsx';
import { plansOf, providers, zonesOf } from '../queries.ts';

function Provider({ name }: { name: string }) {
  const plans = useQuery(plansOf(name));
  const zones = useQuery(zonesOf(name));
  return (
    <Stack gap="xs">
      <Title order={2} size="h5">
        {name}
      </Title>
      {plans.isError ? <Failure error={plans.error} onRetry={() => void plans.refetch()} /> : null}
      <Text size="sm">
        Zones: {zones.data?.map((zone) => zone.name).join(', ') ?? (zones.isError ? 'not to be had' : '…')}
      </Text>
      <Table.ScrollContainer minWidth={400} mah={320}>
        <Table>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Plan</Table.Th>
              <Table.Th>Processors</Table.Th>
              <Table.Th>Memory</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {plans.data?.map((plan) => (
              <Table.Tr key={plan.name}>
                <Table.Td>{plan.name}</Table.Td>
                <Table.Td>{plan.cpus}</Table.Td>
                <Table.Td>{plan.memory_mb / 1024} GiB</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Stack>
  );
}

export function ProvidersPage() {
  const { data, error, refetch } = useQuery(providers);
  if (error !== null) return <Failure error={error} onRetry={() => void refetch()} />;
  if (data === undefined) return <Loading />;
  return (
    <Stack>
      <Title order={1} size="h3">
        Providers
      </Title>
      {data.map(({ name }) => (
        <Provider key={name} name={name} />
      ))}
    </Stack>
  );
}
