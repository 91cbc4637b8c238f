import { SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { PageHead } from '../components/page.tsx';
import { Empty, Failure, Loading } from '../components/states.tsx';
import { catalogOf } from '../queries.ts';

/** What can be installed. A search, a workspace and a server to install on stand in the address. */
export function CatalogPage() {
  const search: Record<string, string | undefined> = useSearch({ strict: false });
  const { q = '', ...target } = search;
  const navigate = useNavigate();
  const { data, error, refetch } = useQuery(catalogOf(target.workspace));
  if (error !== null) return <Failure error={error} onRetry={() => void refetch()} />;
  if (data === undefined) return <Loading />;
  const found = data.filter(({ name, summary }) => `${name} ${summary}`.toLowerCase().includes(q.toLowerCase()));
  return (
    <Stack gap="sm">
      <PageHead
        title="Catalog"
        about={
          target.server === undefined
            ? 'Services that you can install on servers.'
            : `Choose a service to install on ${target.server}.`
        }
      />
      <TextInput
        size="xs"
        maw={320}
        aria-label="Search the catalog"
        placeholder="Search"
        value={q}
        onChange={(event) =>
          void navigate({ to: '.', search: { ...search, q: event.currentTarget.value || undefined }, replace: true })
        }
      />
      {found.length === 0 ? <Empty title="No matching services">Try another search.</Empty> : null}
      <SimpleGrid cols={{ base: 1, xs: 2, lg: 3 }} spacing="sm">
        {found.map(({ name, summary, versions, source }) => (
          <Link key={name} to="/catalog/$name" params={{ name }} search={target} className="surface card">
            <Text fw={600} c="var(--app-blue)">
              {name}
            </Text>
            <Text size="sm">{summary}</Text>
            <Text size="xs" c="dimmed">
              {versions.supported.join(', ')}
              {source === 'workspace' ? ' · from the workspace' : ''}
            </Text>
          </Link>
        ))}
      </SimpleGrid>
    </Stack>
  );
}
