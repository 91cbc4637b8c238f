import {
  ActionIcon,
  Anchor,
  AppShell,
  Burger,
  Group,
  Text,
  UnstyledButton,
  useMantineColorScheme,
} from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { Link, Outlet, useNavigate, useRouterState } from '@tanstack/react-router';
import { Icon, type IconName } from './components/icons.tsx';
import { useLiveUpdates } from './live.ts';
import { me, queryClient } from './queries.ts';
import { client } from './session.ts';

interface Entry {
  to: string;
  label: string;
  icon: IconName;
  /** Without it the entry is not shown. */
  permission: string | null;
}

/** The menu, in groups. */
const MENU: readonly { heading: string | null; entries: readonly Entry[] }[] = [
  { heading: null, entries: [{ to: '/', label: 'Overview', icon: 'overview', permission: null }] },
  {
    heading: 'Fleet',
    entries: [
      { to: '/servers', label: 'Servers', icon: 'servers', permission: 'server_read' },
      { to: '/taskservs', label: 'Services', icon: 'taskservs', permission: 'taskserv_read' },
      { to: '/catalog', label: 'Catalog', icon: 'catalog', permission: 'catalog_read' },
      { to: '/providers', label: 'Providers', icon: 'providers', permission: 'provider_read' },
      { to: '/orphans', label: 'Orphans', icon: 'orphans', permission: 'server_read' },
    ],
  },
  {
    heading: 'Work',
    entries: [
      { to: '/workflows', label: 'Workflows', icon: 'workflows', permission: 'workflow_read' },
      { to: '/schedules', label: 'Schedules', icon: 'schedules', permission: 'workflow_read' },
      { to: '/operations', label: 'Operations', icon: 'operations', permission: 'operation_read' },
    ],
  },
  {
    heading: 'Installation',
    entries: [
      { to: '/workspaces', label: 'Workspaces', icon: 'workspaces', permission: 'workspace_read' },
      { to: '/webhooks', label: 'Webhooks', icon: 'webhooks', permission: 'webhook_read' },
      { to: '/users', label: 'Users', icon: 'users', permission: 'user_read' },
      { to: '/tokens', label: 'API tokens', icon: 'tokens', permission: null },
      { to: '/audit', label: 'Audit log', icon: 'audit', permission: 'audit_read' },
    ],
  },
];

/** What every page but the sign-in stands in. */
export function Shell() {
  const [opened, { toggle, close }] = useDisclosure();
  const { data: principal } = useQuery(me);
  const navigate = useNavigate();
  const { toggleColorScheme } = useMantineColorScheme();
  useLiveUpdates();

  const signOut = async () => {
    await client.logout();
    queryClient.clear();
    await navigate({ to: '/login' });
  };
  return (
    <AppShell
      header={{ height: 52 }}
      navbar={{ width: 208, breakpoint: 'sm', collapsed: { mobile: !opened } }}
      padding={{ base: 'sm', sm: 'lg' }}
    >
      <a href="#main" className="surface skip">
        Skip to content
      </a>
      <AppShell.Header className="header">
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger
              opened={opened}
              onClick={toggle}
              hiddenFrom="sm"
              size="sm"
              aria-label="Menu"
              aria-expanded={opened}
            />
            <Text fw={700} component={Link} to="/" c="inherit" td="none">
              Provisioning
            </Text>
          </Group>
          <Group gap="xs" wrap="nowrap">
            <Anchor component={Link} to="/account" size="sm" c="dimmed" title="Your account">
              {principal?.username}
            </Anchor>
            <ActionIcon
              variant="default"
              size="lg"
              onClick={toggleColorScheme}
              aria-label="Switch between light and dark"
              title="Switch between light and dark"
            >
              <Icon name="theme" />
            </ActionIcon>
            <ActionIcon
              variant="default"
              size="lg"
              onClick={() => void signOut()}
              aria-label="Sign out"
              title="Sign out"
            >
              <Icon name="leave" />
            </ActionIcon>
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar className="navbar" p="xs" aria-label="Pages" style={{ overflowY: 'auto' }}>
        <Menu permissions={principal?.permissions ?? []} onChoose={close} />
        <UnstyledButton component="a" href="/docs" p="xs" mt="auto" fz="sm" c="dimmed">
          API documentation
        </UnstyledButton>
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1} style={{ outline: 'none' }}>
        <Outlet />
      </AppShell.Main>
    </AppShell>
  );
}

function Menu({ permissions, onChoose }: { permissions: readonly string[]; onChoose: () => void }) {
  const pathname = useRouterState({ select: (state) => state.location.pathname });
  return MENU.map(({ heading, entries }) => {
    const allowed = entries.filter(({ permission }) => permission === null || permissions.includes(permission));
    return allowed.length === 0 ? null : (
      <div key={heading}>
        {heading === null ? null : <div className="menu-heading">{heading}</div>}
        {allowed.map(({ to, label, icon }) => {
          const current = to === '/' ? pathname === '/' : pathname === to || pathname.startsWith(`${to}/`);
          return (
            <Link
              key={to}
              to={to}
              className="menu-entry"
              aria-current={current ? 'page' : undefined}
              onClick={onChoose}
            >
              <Icon name={icon} />
              {label}
            </Link>
          );
        })}
      </div>
    );
  });
}
