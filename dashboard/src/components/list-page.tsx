import { Button, NativeSelect, Stack, TextInput } from '@mantine/core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { List, type ListProps, NothingFound } from './list.tsx';
import { PageHead, Surface } from './page.tsx';

/** A field to filter by: a text, or one of some. */
interface Filter {
  name: string;
  options?: readonly (string | { value: string; label: string })[];
  /** What stands for all of the options; absent: "any" and the name. */
  any?: string;
}

interface ListPageProps<R> extends Pick<ListProps<R>, 'path' | 'columns' | 'keyOf' | 'label'> {
  title: string;
  about?: ReactNode;
  filters: readonly Filter[];
  /** Shown where there is nothing at all: what to do about it. */
  empty?: ReactNode;
  /** Buttons beside the title. */
  actions?: ReactNode;
  /** Above the list, such as a form that adds to it. */
  children?: ReactNode;
}

/** A page that is a list. Its filters and its order stand in the address. */
export function ListPage<R>({ title, about, filters, empty, actions, children, ...list }: ListPageProps<R>) {
  const query: Record<string, string | undefined> = useSearch({ strict: false });
  const navigate = useNavigate();
  const change = (changed: Record<string, string | undefined>) =>
    void navigate({ to: '.', search: { ...query, ...changed }, replace: true });
  const filtered = filters.some(({ name }) => query[name] !== undefined);
  return (
    <Stack gap="sm">
      <PageHead title={title} about={about}>
        {actions}
      </PageHead>
      {children}
      {filters.length === 0 ? null : <Filters of={filters} values={query} filtered={filtered} onChange={change} />}
      <Surface>
        <List
          {...list}
          query={query}
          onSort={(sort) => change({ sort })}
          empty={
            <NothingFound what={list.label} filtered={filtered}>
              {empty}
            </NothingFound>
          }
        />
      </Surface>
    </Stack>
  );
}

interface FiltersProps {
  of: readonly Filter[];
  values: Record<string, string | undefined>;
  filtered: boolean;
  onChange: (values: Record<string, string | undefined>) => void;
}

function Filters({ of, values, filtered, onChange }: FiltersProps) {
  return (
    <search className="filters">
      {of.map(({ name, options, any }) => {
        const text = name.replaceAll('_', ' ');
        const common = { size: 'xs', 'aria-label': `Filter by ${text}` };
        return options === undefined ? (
          <TextInput
            key={`${name} ${values[name]}`}
            {...common}
            placeholder={text}
            defaultValue={values[name] ?? ''}
            onKeyDown={(event) => {
              if (event.key === 'Enter') event.currentTarget.blur();
            }}
            onBlur={(event) => {
              const value = event.currentTarget.value.trim() || undefined;
              if (value !== values[name]) onChange({ [name]: value });
            }}
          />
        ) : (
          <NativeSelect
            key={name}
            {...common}
            value={values[name] ?? ''}
            onChange={(event) => onChange({ [name]: event.currentTarget.value || undefined })}
            data={[
              { value: '', label: any ?? `any ${text}` },
              ...options.map((option) =>
                typeof option === 'string' ? { value: option, label: option.replaceAll('_', ' ') } : option,
              ),
            ]}
          />
        );
      })}
      {filtered ? (
        <Button
          size="xs"
          variant="subtle"
          onClick={() => onChange(Object.fromEntries(of.map(({ name }) => [name, undefined])))}
        >
          Clear filters
        </Button>
      ) : null}
    </search>
  );
}
