import { stringify } from 'yaml';

export const OUTPUTS = ['table', 'json', 'yaml', 'name'] as const;
export type Output = (typeof OUTPUTS)[number];

/** A column of a table: its heading and what stands in it. */
export interface Column {
  heading: string;
  value: (row: never) => unknown;
}

/** A column that shows a field as it is. */
export function field(name: string, heading = name.replaceAll('_', ' ')): Column {
  return { heading: heading.toUpperCase(), value: (row: Record<string, unknown>) => row[name] };
}

/** How records of one kind are shown. */
export interface View {
  columns: readonly Column[];
  /** The field that names a record: what `--output name` prints. */
  name: string;
}

type Row = Record<string, unknown>;

/** Many records, as they go to standard output. */
export function renderRows(rows: readonly Row[], view: View, output: Output): string {
  if (output === 'json') return `${JSON.stringify(rows, null, 2)}\n`;
  if (output === 'yaml') return stringify(rows);
  if (output === 'name') return rows.map((row) => `${String(row[view.name])}\n`).join('');
  return table([view.columns.map(({ heading }) => heading), ...cellsOf(rows, view)]);
}

/** Rows whose widths a table takes: what comes later is fitted in as well as it goes. */
const PAGE_ROWS = 500;

/** The same for rows without end, a page at a time. */
export async function* renderPages(
  rows: AsyncIterable<Row>,
  view: View,
  output: Output,
): AsyncGenerator<{ text: string; rows: number }> {
  const render = pageRenderer(view, output);
  let page: Row[] = [];
  for await (const row of rows) {
    page.push(row);
    if (page.length === PAGE_ROWS) {
      yield { text: render(page), rows: page.length };
      page = [];
    }
  }
  yield { text: render(page, true), rows: page.length };
}

/** Renders page after page so that all together are one text of the format. */
function pageRenderer(view: View, output: Output): (rows: readonly Row[], last?: boolean) => string {
  let first = true;
  let widths: number[] | undefined;
  const begin = () => {
    const was = first;
    first = false;
    return was;
  };
  if (output === 'json') {
    return (rows, last = false) => {
      const texts = rows.map((row) => JSON.stringify(row, null, 2).replaceAll(/^/gm, '  '));
      const opening = begin() ? (texts.length === 0 ? '[' : '[\n') : texts.length === 0 ? '' : ',\n';
      return `${opening}${texts.join(',\n')}${last ? (opening === '[' ? ']\n' : '\n]\n') : ''}`;
    };
  }
  if (output === 'yaml') {
    return (rows, last = false) => {
      const empty = begin() && last && rows.length === 0;
      return empty ? '[]\n' : rows.length === 0 ? '' : stringify(rows);
    };
  }
  if (output === 'name') return (rows) => renderRows(rows, view, output);
  return (rows) => {
    const lines = cellsOf(rows, view);
    if (begin()) lines.unshift(view.columns.map(({ heading }) => heading));
    widths ??= widthsOf(lines);
    return table(lines, widths);
  };
}

function cellsOf(rows: readonly Row[], view: View): string[][] {
  return rows.map((row) => view.columns.map(({ value }) => cell(value(row as never))));
}

/** One record: its fields below one another, what has fields of its own indented below its name. */
export function renderRecord(record: Row, view: { name: string }, output: Output): string {
  if (output === 'json') return `${JSON.stringify(record, null, 2)}\n`;
  if (output === 'yaml') return stringify(record);
  if (output === 'name') return `${String(record[view.name])}\n`;
  const fields = Object.entries(record);
  const width = Math.max(...fields.flatMap(([name, value]) => (isNested(value) ? [] : [name.length])));
  const nested = (value: unknown) => stringify(value).replaceAll(/^(?=.)/gm, '  ');
  return fields
    .map(([name, value]) =>
      isNested(value) ? `${name}:\n${nested(value)}` : `${`${name}:`.padEnd(width + 1)}  ${cell(value)}\n`,
    )
    .join('');
}

function isNested(value: unknown): boolean {
  return Array.isArray(value)
    ? value.some(isNested)
    : typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return '-';
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.map(cell).join(',');
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function widthsOf(rows: readonly string[][]): number[] {
  return (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
}

function table(rows: readonly string[][], widths: readonly number[] = widthsOf(rows)): string {
  const line = (row: string[]) => row.map((value, column) => value.padEnd(widths[column] ?? 0)).join('  ');
  return rows.map((row) => `${line(row).trimEnd()}\n`).join('');
}
