import { AppShell, Burger, Button, Group, NavLink, Text, UnstyledButton, useMantineColorScheme } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { Link, Outlet, useNavigate, useRouterState } from '@tanstack/react-router';
import { useLiveUpdates } from './live.ts';
import { me, queryClient } from './queries.ts';
import { client } from './session.ts';

/** The menu: what is there, and the permission without which it is not shown. */
const PAGES = [
  { to: '/', label: 'Overview', permission: null },
  { to: '/servers', label: 'Servers', permission: 'server_read' },
  { to: '/taskservs', label: 'Taskservs', permission: 'taskserv_read' },
  { to: '/workflows', label: 'Workflows', permission: 'workflow_read' },
  { to: '/operations', label: 'Operations', permission: 'operation_read' },
  { to: '/workspaces', label: 'Workspaces', permission: 'workspace_read' },
  { to: '/catalog', label: 'Catalog', permission: 'catalog_read' },
  { to: '/providers', label: 'Providers', permission: 'provider_read' },
  { to: '/users', label: 'Users', permission: 'user_read' },
  { to: '/tokens', label: 'API tokens', permission: null },
  { to: '/audit', label: 'Audit log', permission: 'audit_read' },
] as const;

/** What every page but the sign-in stands in. */
export function Shell() {
  const [opened, { toggle, close }] = useDisclosure();
  const { data: principal } = useQuery(me);
  const pathname = useRouterState({ select: (state) => state.location.pathname });
  const navigate = useNavigate();
  const { toggleColorScheme } = useMantineColorScheme();
  useLiveUpdates();

  const signOut = async () => {
    await client.logout();
    queryClient.clear();
    await navigate({ to: '/login' });
  };
  const allowed = PAGES.filter(
    ({ permission }) => permission === null || principal?.permissions.includes(permission) === true,
  );
  return (
    <AppShell
      header={{ height: 52 }}
      navbar={{ width: 200, breakpoint: 'sm', collapsed: { mobile: !opened } }}
      padding="md"
    >
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label="Menu" />
            <Text fw={700} component={Link} to="/" c="inherit" td="none">
              Provisioning
            </Text>
          </Group>
          <Group gap="xs" wrap="nowrap">
            <Text size="sm" visibleFrom="xs">
              {principal?.username}
            </Text>
            <Button size="xs" variant="default" onClick={toggleColorScheme} aria-label="Light or dark">
              ◐
            </Button>
            <Button size="xs" variant="default" onClick={() => void signOut()}>
              Sign out
            </Button>
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" aria-label="Pages">
        {allowed.map(({ to, label }) => (
          <NavLink
            key={to}
            component={Link}
            to={to}
            label={label}
            active={to === '/' ? pathname === '/' : pathname.startsWith(to)}
            onClick={close}
          />
        ))}
        <UnstyledButton component="a" href="/docs" p="xs" mt="auto" fz="sm" c="dimmed">
          API documentation
        </UnstyledButton>
      </AppShell.Navbar>
      <AppShell.Main>
        <Outlet />
      </AppShell.Main>
    </AppShell>
  );
}
