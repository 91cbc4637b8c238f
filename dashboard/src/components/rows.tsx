import {
  type KeyboardEvent,
  memo,
  type ReactNode,
  type RefObject,
  useCallback,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
} from 'react';

/** As in style.css. Pixels. */
const ROW_HEIGHT = 40;
const HEADINGS_HEIGHT = 36;
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

interface RowsProps<R> {
  columns: readonly ListColumn<R>[];
  keyOf: (row: R) => string;
  /** What the rows are, in the plural. */
  label: string;
  /** Rows that can be scrolled to. */
  count: number;
  /** Undefined while it is fetched. */
  rowAt: (index: number) => R | undefined;
  /** Rows in all; null where nobody has counted them. */
  total: number | null;
  /** How they are sorted, as the API says it. */
  sort?: string | undefined;
  /** Absent: the order cannot be changed. */
  onSort?: ((sort: string) => void) | undefined;
  /** In the middle of a page rather than its whole. */
  embedded?: boolean | undefined;
  /** Told which rows are looked at, whenever they change. */
  onRange?: (range: Range) => void;
}

/** From the first row that is seen to the last. */
export interface Range {
  first: number;
  last: number;
}

/**
 * A table of any length of which only what is visible is drawn; what it costs does not depend on how long it is. Arrow
 * keys, Page up and down, Home and End walk through the rows, Enter opens one.
 */
export function Rows<R>({ columns, keyOf, label, count, rowAt, total, sort, onSort, embedded, onRange }: RowsProps<R>) {
  const scroller = useRef<HTMLElement>(null);
  const seen = useSeen(scroller);
  const { onKeyDown, current, pulled, onFocus } = useRowKeys(count, (index) => bringIntoSight(scroller.current, index));
  const last = Math.max(0, Math.min(seen.last, count - 1));
  const first = Math.min(seen.first, last);
  useEffect(() => onRange?.({ first, last }), [onRange, first, last]);
  const from = Math.max(0, first - OVERSCAN);
  const to = Math.min(count, last + 1 + OVERSCAN);
  const drawn = new Set<string>();
  return (
    <section className="rows" data-embedded={embedded} ref={scroller} aria-label={label}>
      <table aria-label={label} aria-rowcount={total === null ? -1 : total + 1}>
        <thead>
          <tr>
            {columns.map((column) => (
              <Heading key={column.heading} column={column} sort={sort} onSort={onSort} />
            ))}
          </tr>
        </thead>
        <tbody onKeyDown={onKeyDown}>
          {from > 0 ? <Gap height={from * ROW_HEIGHT} /> : null}
          {Array.from({ length: to - from }, (_, n) => {
            const index = from + n;
            const row = rowAt(index);
            if (row === undefined) return <Gap key={`at ${index}`} height={ROW_HEIGHT} />;
            const own = keyOf(row);
            const key = drawn.has(own) ? `${own} at ${index}` : own;
            drawn.add(own);
            return (
              <Row
                key={key}
                row={row}
                index={index}
                columns={columns}
                reachable={index === current}
                pulled={index === pulled}
                onFocus={onFocus}
              />
            );
          })}
          {to < count ? <Gap height={(count - to) * ROW_HEIGHT} /> : null}
        </tbody>
      </table>
    </section>
  );
}

/** Which rows are seen, as far as their scroller tells: there may be fewer. */
function useSeen(scroller: RefObject<HTMLElement | null>): Range {
  const [seen, setSeen] = useState<Range>({ first: 0, last: 0 });
  useLayoutEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    const look = () => {
      const first = Math.floor(element.scrollTop / ROW_HEIGHT);
      const last = Math.ceil((element.scrollTop + element.clientHeight) / ROW_HEIGHT);
      setSeen((before) => (before.first === first && before.last === last ? before : { first, last }));
    };
    look();
    const observer = new ResizeObserver(look);
    observer.observe(element);
    element.addEventListener('scroll', look, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener('scroll', look);
    };
  }, [scroller]);
  return seen;
}

/** Scrolls as little as is needed for a row to be seen, below the headings. */
function bringIntoSight(element: HTMLElement | null, index: number): void {
  if (element === null) return;
  const top = index * ROW_HEIGHT;
  const bottom = top + ROW_HEIGHT + HEADINGS_HEIGHT - element.clientHeight;
  if (element.scrollTop > top) element.scrollTop = top;
  else if (element.scrollTop < bottom) element.scrollTop = bottom;
}

interface RowProps<R> {
  row: R;
  index: number;
  columns: readonly ListColumn<R>[];
  /** By Tab: one of them all. */
  reachable: boolean;
  /** It is to take the focus. */
  pulled: boolean;
  onFocus: (index: number) => void;
}

/** Drawn again only where something of it is new: most rows stay as they are while others are scrolled in. */
const Row = memo(function Row<R>({ row, index, columns, reachable, pulled, onFocus }: RowProps<R>) {
  const own = useRef<HTMLTableRowElement>(null);
  useLayoutEffect(() => {
    if (pulled) own.current?.focus({ preventScroll: true });
  }, [pulled]);
  return (
    <tr ref={own} aria-rowindex={index + 2} tabIndex={reachable ? 0 : -1} onFocus={() => onFocus(index)}>
      {columns.map(({ heading, cell, from }) => (
        <td key={heading} className={from === undefined ? undefined : `from-${from}`}>
          {cell(row)}
        </td>
      ))}
    </tr>
  );
}) as <R>(props: RowProps<R>) => ReactNode;

/** The place of rows that are not drawn. One cell: a wider one would make room for columns that this screen leaves out. */
function Gap({ height }: { height: number }) {
  return (
    <tr className="gap">
      <td style={{ height }} />
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
  /** The row that takes the focus as soon as it is drawn. */
  const [pulled, setPulled] = useState<number | null>(null);
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
    if (event.key === 'Enter' && target instanceof HTMLTableRowElement)
      target.querySelector<HTMLElement>('a, button')?.click();
    const to = moves[event.key];
    if (to === undefined || target.closest('tr') === null) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(count - 1, to));
    setActive(index);
    setPulled(index);
    scrollTo(index);
  };
  const onFocus = useCallback((index: number) => {
    setActive(index);
    setPulled(null);
  }, []);
  return { onKeyDown, current, pulled, onFocus };
}
