import { Text } from '@mantine/core';
import { useVirtualizer } from '@tanstack/react-virtual';
import { type KeyboardEvent, type ReactNode, useRef, useState } from 'react';
import { Empty, Failure, Loading } from './states.tsx';
import { type ListPlace, useWindowed } from './windowed.ts';

const ROW_HEIGHT = 40;
/** Rows drawn besides those that are seen. */
const OVERSCAN = 12;

export interface ListColumn<R> {
  heading: string;
  cell: (row: R) => ReactNode;
  /** CSS width; absent: a share of what is left. */
  width?: string;
  /** Left out on screens narrower than this. */
  from?: 'sm' | 'md' | 'lg';
  /** What the API calls it in `sort`, where it can be sorted by. */
  sort?: string;
}

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

/**
 * A list of any length: pages are fetched as they are scrolled to, and only what is visible is drawn. Arrow keys, Page
 * up and down, Home and End walk through the rows, Enter opens one.
 */
export function List<R>({ columns, keyOf, label, empty, onSort, embedded, ...place }: ListProps<R>) {
  const scroller = useRef<HTMLElement>(null);
  const [range, setRange] = useState({ first: 0, last: 0 });
  const { count, rowAt, total, totalCapped, pending, error, retry } = useWindowed<R>(place, range);
  const virtual = useVirtualizer({
    count,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: OVERSCAN,
    onChange: ({ range: seen }) => {
      const first = seen?.startIndex ?? 0;
      const last = seen?.endIndex ?? 0;
      if (first !== range.first || last !== range.last) setRange({ first, last });
    },
  });
  const keys = useRowKeys(count, (index) => virtual.scrollToIndex(index));

  if (error !== null && pending) return <Failure error={error} onRetry={retry} />;
  if (pending) return <Loading />;
  if (count === 0) return empty;
  const items = virtual.getVirtualItems();
  const before = items[0]?.start ?? 0;
  const after = virtual.getTotalSize() - (items.at(-1)?.end ?? 0);
  const drawn = new Set<string>();
  return (
    <>
      <Text size="xs" c="dimmed" px={12} pt={10} aria-live="polite">
        {totalCapped ? `more than ${total.toLocaleString('en')}` : total.toLocaleString('en')}{' '}
        {total === 1 ? label.replace(/ies$/, 'y').replace(/s$/, '') : label}
      </Text>
      {error === null ? null : <Failure error={error} onRetry={retry} />}
      <section className="rows" data-embedded={embedded} ref={scroller} aria-label={label}>
        <table aria-rowcount={totalCapped ? -1 : total + 1}>
          <thead>
            <tr>
              {columns.map((column) => (
                <Heading key={column.heading} column={column} sort={place.query.sort} onSort={onSort} />
              ))}
            </tr>
          </thead>
          <tbody onKeyDown={keys.onKeyDown}>
            {before > 0 ? <Gap height={before} columns={columns.length} /> : null}
            {items.map(({ index }) => {
              const row = rowAt(index);
              if (row === undefined) return <Gap key={`at ${index}`} height={ROW_HEIGHT} columns={columns.length} />;
              const own = keyOf(row);
              const key = drawn.has(own) ? `${own} at ${index}` : own;
              drawn.add(own);
              return (
                <tr key={key} aria-rowindex={index + 2} {...keys.rowProps(index)}>
                  {columns.map(({ heading, cell, from }) => (
                    <td key={heading} className={from === undefined ? undefined : `from-${from}`}>
                      {cell(row)}
                    </td>
                  ))}
                </tr>
              );
            })}
            {after > 0 ? <Gap height={after} columns={columns.length} /> : null}
          </tbody>
        </table>
      </section>
    </>
  );
}

/** The place of rows that are not drawn. */
function Gap({ height, columns }: { height: number; columns: number }) {
  return (
    <tr className="gap">
      <td colSpan={columns} style={{ height }} />
    </tr>
  );
}

interface HeadingProps {
  column: Pick<ListColumn<never>, 'heading' | 'width' | 'from' | 'sort'>;
  sort: string | undefined;
  onSort: ((sort: string) => void) | undefined;
}

function Heading({ column: { heading, width, from, sort: name }, sort, onSort }: HeadingProps) {
  const className = from === undefined ? undefined : `from-${from}`;
  if (name === undefined || onSort === undefined) {
    return (
      <th scope="col" className={className} style={{ width }}>
        {heading === '' ? <span className="mantine-visually-hidden">Actions</span> : heading}
      </th>
    );
  }
  const direction = sort === name ? 'ascending' : sort === `-${name}` ? 'descending' : 'none';
  return (
    <th scope="col" className={className} style={{ width }} aria-sort={direction}>
      <button type="button" className="sort" onClick={() => onSort(direction === 'ascending' ? `-${name}` : name)}>
        {heading}
        <span aria-hidden="true">{direction === 'ascending' ? '↑' : direction === 'descending' ? '↓' : '↕'}</span>
      </button>
    </th>
  );
}

/** Rows that a page key passes over. */
const STRIDE = 10;

/** Lets the keyboard walk through rows of which only some are drawn. One of them can be reached by Tab. */
function useRowKeys(count: number, scrollTo: (index: number) => void) {
  const [active, setActive] = useState(0);
  const awaited = useRef<number | null>(null);
  const current = Math.min(active, Math.max(0, count - 1));
  const moves: Record<string, number> = {
    ArrowDown: current + 1,
    ArrowUp: current - 1,
    PageDown: current + STRIDE,
    PageUp: current - STRIDE,
    Home: 0,
    End: count - 1,
  };
  const onKeyDown = (event: KeyboardEvent<HTMLElement>) => {
    const target = event.target as HTMLElement;
    if (event.key === 'Enter' && target instanceof HTMLTableRowElement) target.querySelector('a')?.click();
    const to = moves[event.key];
    if (to === undefined || target.closest('tr') === null) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(count - 1, to));
    awaited.current = index;
    setActive(index);
    scrollTo(index);
  };
  const rowProps = (index: number) => ({
    tabIndex: index === current ? 0 : -1,
    onFocus: () => setActive(index),
    ref: (row: HTMLTableRowElement | null) => {
      if (row === null || awaited.current !== index) return;
      awaited.current = null;
      row.focus({ preventScroll: true });
    },
  });
  return { onKeyDown, rowProps };
}

export function NothingFound({ what, filtered, children }: { what: string; filtered: boolean; children?: ReactNode }) {
  return filtered ? (
    <Empty title={`No ${what} like that`}>Change or clear the filters.</Empty>
  ) : (
    <Empty title={`No ${what} yet`}>{children}</Empty>
  );
}
