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
  const cells = rows.map((row) => view.columns.map(({ value }) => cell(value(row as never))));
  return table([view.columns.map(({ heading }) => heading), ...cells]);
}

/** One record: its fields below one another. */
export function renderRecord(record: Row, view: { name: string }, output: Output): string {
  if (output === 'json') return `${JSON.stringify(record, null, 2)}\n`;
  if (output === 'yaml') return stringify(record);
  if (output === 'name') return `${String(record[view.name])}\n`;
  return table(Object.entries(record).map(([name, value]) => [`${name}:`, cell(value)]));
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return '-';
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.map(cell).join(',');
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function table(rows: readonly string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((value, column) => value.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}
