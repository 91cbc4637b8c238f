import { Anchor, Group, Paper, Text, Title } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { type ReactNode, useEffect, useMemo } from 'react';
import { Status } from './states.tsx';

interface PageHeadProps {
  title: string;
  /** Where this page belongs to, one step up. */
  up?: { to: string; text: string };
  status?: { status: string; operation?: boolean };
  /** One line about it. */
  about?: ReactNode;
  /** Buttons. */
  children?: ReactNode;
}

/** The top of every page: what it is, how it stands, and what can be done. The title also names the browser's tab. */
export function PageHead({ title, up, status, about, children }: PageHeadProps) {
  useEffect(() => {
    document.title = `${title} · Provisioning`;
  }, [title]);
  return (
    <header>
      {up === undefined ? null : (
        <Anchor component={Link} to={up.to} size="xs">
          ‹ {up.text}
        </Anchor>
      )}
      <Group justify="space-between" gap="sm" align="center">
        <Group gap="sm" maw="100%" wrap="nowrap">
          <Title order={1} size="h3" style={{ overflowWrap: 'anywhere' }}>
            {title}
          </Title>
          {status === undefined ? null : <Status {...status} large />}
        </Group>
        <Group gap="xs">{children}</Group>
      </Group>
      {about === undefined ? null : (
        <Text size="sm" c="dimmed" mt={4}>
          {about}
        </Text>
      )}
    </header>
  );
}

/** A name and what stands for it; `wide` where that is long. Null is left out. */
export type Fact = readonly [name: string, value: ReactNode, size?: 'wide'] | null;

/** What is known about a thing. */
export function Facts({ of }: { of: readonly Fact[] }) {
  return (
    <dl className="surface facts">
      {of.map((fact) =>
        fact === null ? null : (
          <div key={fact[0]} data-size={fact[2]}>
            <dt>{fact[0]}</dt>
            <dd>{fact[1] ?? '–'}</dd>
          </div>
        ),
      )}
    </dl>
  );
}

/** A way to another page, inside of text. */
export function To({ to, children }: { to: string; children: ReactNode }) {
  return (
    <Anchor component={Link} to={to} size="sm">
      {children}
    </Anchor>
  );
}

export function Tags({ of }: { of: readonly string[] }) {
  return of.length === 0
    ? '–'
    : of.map((tag) => (
        <span key={tag} className="tag">
          {tag}
        </span>
      ));
}

/** Of JSON; laying out more takes the page's breath. Characters. */
const MAX_JSON = 20_000;

/** Something that only programs have a shape for. Of very much only the beginning. */
export function Json({ value, label }: { value: unknown; label: string }) {
  const text = useMemo(() => JSON.stringify(value, null, 2) ?? '', [value]);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section className="json" tabIndex={0} aria-label={label}>
      {text.slice(0, MAX_JSON)}
      {text.length > MAX_JSON
        ? `\n… and ${(text.length - MAX_JSON).toLocaleString('en')} more characters. The API returns all of them.`
        : null}
    </section>
  );
}

/** A frame around what belongs together. */
export function Surface({ children, label }: { children: ReactNode; label?: string }) {
  return (
    <Paper className="surface" p={0} component="section" aria-label={label} style={{ overflow: 'hidden' }}>
      {children}
    </Paper>
  );
}
