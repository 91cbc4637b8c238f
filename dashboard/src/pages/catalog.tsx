import { Anchor, Card, SimpleGrid, Stack, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { Failure, Loading } from '../components/states.tsx';
import { catalog } from '../queries.ts';

/** What can be installed. */
export function CatalogPage() {
  const { data, error, refetch } = useQuery(catalog);
  if (error !== null) return <Failure error={error} onRetry={() => void refetch()} />;
  if (data === undefined) return <Loading />;
  return (
    <Stack>
      <Title order={1} size="h3">
        Catalog
      </Title>
      <SimpleGrid cols={{ base: 1, xs: 2, lg: 3 }}>
        {data.map(({ name, summary, versions, source }) => (
          <Card withBorder key={name} p="sm">
            <Anchor component={Link} to={`/catalog/${name}`} fw={600}>
              {name}
            </Anchor>
            <Text size="sm">{summary}</Text>
            <Text size="xs" c="dimmed">
              {versions.default}
              {source === 'workspace' ? ', of the workspace' : ''}
            </Text>
          </Card>
        ))}
      </SimpleGrid>
    </Stack>
  );
}
