import { Group, Table, Text, TextInput } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useVirtualizer } from '@tanstack/react-virtual';
import { type ReactNode, useEffect, useRef } from 'react';
import type { Client } from '../../../src/sdk/client.ts';
import { client } from '../session.ts';
import { Empty, Failure, Loading } from './states.tsx';

const ROW_HEIGHT = 41;
const PER_PAGE = 200;
/** Rows before the last loaded one at which the next page is fetched. */
const AHEAD = 50;

type ListPath = Parameters<Client['page']>[0];

export interface ListColumn<R> {
  heading: string;
  cell: (row: R) => ReactNode;
}

interface ListProps<R> {
  path: ListPath;
  /** Only what was given; it stands in the address. */
  filters: Record<string, string | undefined>;
  columns: readonly ListColumn<R>[];
  keyOf: (row: R) => string;
  label: string;
  empty: ReactNode;
}

/** A list of any length: pages are fetched as they are scrolled to, and only what is visible is drawn. */
export function List<R>({ path, filters, columns, keyOf, label, empty }: ListProps<R>) {
  const scroller = useRef<HTMLDivElement>(null);
  const query = useInfiniteQuery({
    queryKey: [path, 'list', filters],
    queryFn: ({ pageParam, signal }) =>
      client.page(path, { filters: filters as never, cursor: pageParam, perPage: PER_PAGE, signal }),
    initialPageParam: '',
    getNextPageParam: (page) => page.next ?? undefined,
  });
  const rows = (query.data?.pages.flatMap((page) => page.rows) ?? []) as R[];
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: 20,
  });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = query;
  useEffect(() => {
    if (last >= rows.length - AHEAD && hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [last, rows.length, hasNextPage, isFetchingNextPage, fetchNextPage]);

  if (query.isPending) return <Loading />;
  if (query.isError) return <Failure error={query.error} onRetry={() => void query.refetch()} />;
  if (rows.length === 0) return empty;
  const first = query.data.pages[0];
  const before = items[0]?.start ?? 0;
  const after = virtual.getTotalSize() - (items.at(-1)?.end ?? 0);
  return (
    <>
      <Text size="xs" c="dimmed" mb={4} aria-live="polite">
        {first?.totalCapped ? `more than ${first.total}` : first?.total} {label}
      </Text>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <section className="rows" ref={scroller} tabIndex={0} aria-label={label}>
        <Table highlightOnHover aria-rowcount={first?.total}>
          <Table.Thead>
            <Table.Tr>
              {columns.map(({ heading }) => (
                <Table.Th key={heading}>{heading}</Table.Th>
              ))}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {before > 0 ? <tr style={{ height: before }} /> : null}
            {items.map(({ index }) => {
              const row = rows[index];
              if (row === undefined) return null;
              return (
                <Table.Tr key={keyOf(row)} aria-rowindex={index + 1}>
                  {columns.map(({ heading, cell }) => (
                    <Table.Td key={heading}>{cell(row)}</Table.Td>
                  ))}
                </Table.Tr>
              );
            })}
            {after > 0 ? <tr style={{ height: after }} /> : null}
          </Table.Tbody>
        </Table>
      </section>
    </>
  );
}

/** Text fields whose contents stand in the address. */
export function Filters({
  names,
  values,
  onChange,
}: {
  names: readonly string[];
  values: Record<string, string | undefined>;
  onChange: (values: Record<string, string | undefined>) => void;
}) {
  return (
    <Group gap="xs" mb="sm" role="search">
      {names.map((name) => (
        <TextInput
          key={name}
          size="xs"
          w={150}
          aria-label={`Filter by ${name.replaceAll('_', ' ')}`}
          placeholder={name.replaceAll('_', ' ')}
          defaultValue={values[name] ?? ''}
          onKeyDown={(event) => {
            if (event.key === 'Enter') event.currentTarget.blur();
          }}
          onBlur={(event) => {
            const value = event.currentTarget.value.trim();
            if (value !== (values[name] ?? '')) onChange({ ...values, [name]: value === '' ? undefined : value });
          }}
        />
      ))}
    </Group>
  );
}

export function NothingFound({ what, filtered, children }: { what: string; filtered: boolean; children?: ReactNode }) {
  return filtered ? (
    <Empty title={`No ${what} like that`}>Change or clear the filters.</Empty>
  ) : (
    <Empty title={`No ${what} yet`}>{children}</Empty>
  );
}
