import { Text } from '@mantine/core';
import { type ReactNode, useState } from 'react';
import { type ListColumn, type Range, Rows } from './rows.tsx';
import { Empty, Failure, Loading } from './states.tsx';
import { type ListPlace, useWindowed } from './windowed.ts';

export type { ListColumn } from './rows.tsx';

export interface ListProps<R> extends ListPlace {
  columns: readonly ListColumn<R>[];
  keyOf: (row: R) => string;
  /** What the rows are, in the plural. */
  label: string;
  empty: ReactNode;
  /** Absent: the order cannot be changed. */
  onSort?: (sort: string) => void;
  /** In the middle of a page rather than its whole. */
  embedded?: boolean;
}

/** A list of the API, of any length: pages are fetched as they are scrolled to, and only what is visible is drawn. */
export function List<R>({ columns, keyOf, label, empty, onSort, embedded, ...place }: ListProps<R>) {
  const [range, setRange] = useState<Range>({ first: 0, last: 0 });
  const { count, rowAt, total, totalCapped, pending, error, retry } = useWindowed<R>(place, range);
  if (error !== null && pending) return <Failure error={error} onRetry={retry} />;
  if (pending) return <Loading />;
  if (count === 0) return empty;
  return (
    <>
      <Text size="xs" c="dimmed" px={12} pt={10} aria-live="polite">
        {totalCapped ? `more than ${total.toLocaleString('en')}` : total.toLocaleString('en')}{' '}
        {total === 1 ? label.replace(/ies$/, 'y').replace(/s$/, '') : label}
      </Text>
      {error === null ? null : <Failure error={error} onRetry={retry} />}
      <Rows
        columns={columns}
        keyOf={keyOf}
        label={label}
        count={count}
        rowAt={rowAt}
        total={totalCapped ? null : total}
        sort={place.query.sort}
        onSort={onSort}
        embedded={embedded}
        onRange={setRange}
      />
    </>
  );
}

export function NothingFound({ what, filtered, children }: { what: string; filtered: boolean; children?: ReactNode }) {
  return filtered ? (
    <Empty title={`No matching ${what}`}>Change or clear the filters.</Empty>
  ) : (
    <Empty title={`No ${what} yet`}>{children}</Empty>
  );
}
