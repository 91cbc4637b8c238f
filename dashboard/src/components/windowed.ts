import { useQueries } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import type { Client, Page } from '../../../src/sdk/client.ts';
import { client } from '../session.ts';

/** Rows of a page. */
const PER_PAGE = 200;
/** Rows before the last known one at which the next page is fetched. */
const AHEAD = 100;
/** Pages that are out of sight are forgotten after this long, so that memory does not grow with the way. Milliseconds. */
const FORGET_MS = 5_000;

type ListPath = Parameters<Client['page']>[0];

/** Which list of the API. */
export interface ListPlace {
  path: ListPath;
  /** What the path's `{name}`s stand for. */
  parameters?: Record<string, string>;
  /** Filters and `sort`, only what was given. */
  query: Record<string, string | undefined>;
}

interface Known {
  /** Which list, in which order. */
  list: string;
  /** Where each page begins that we know of. */
  cursors: readonly string[];
  /** Rows in all; null while there is more to come. */
  end: number | null;
  /** What the server counts, which may be as far as it counts at all. */
  total: number;
  totalCapped: boolean;
}

export interface Windowed<R> {
  /** Rows that can be scrolled to by now. */
  count: number;
  /** Undefined while it is fetched. */
  rowAt: (index: number) => R | undefined;
  total: number;
  totalCapped: boolean;
  pending: boolean;
  error: Error | null;
  retry: () => void;
}

/**
 * A list of any length of which only what is looked at is kept: the pages around `first` to `last`, each by the cursor
 * that the page before it told.
 */
export function useWindowed<R>(
  { path, parameters = {}, query }: ListPlace,
  { first, last }: { first: number; last: number },
): Windowed<R> {
  const list = JSON.stringify([path, parameters, query]);
  const [remembered, setKnown] = useState<Known>(() => beginning(list));
  const known = remembered.list === list ? remembered : beginning(list);
  const from = Math.min(Math.floor(first / PER_PAGE), known.cursors.length - 1);
  const to = Math.max(from, Math.min(Math.floor((last + AHEAD) / PER_PAGE), known.cursors.length - 1));
  const wanted = Array.from({ length: to - from + 1 }, (_, n) => from + n);
  const shown = useRef({ list, pages: new Map<number, Page<R>>() });
  if (shown.current.list !== list) shown.current = { list, pages: new Map() };
  const { pages } = shown.current;

  const results = useQueries({
    queries: wanted.map((page) => pageQuery({ path, parameters, query }, known.cursors[page] ?? '', pages.get(page))),
  });
  const loaded = new Map(wanted.map((page, n) => [page, results[n]?.data]));

  useEffect(() => {
    shown.current = { list, pages: new Map([...loaded].flatMap(([page, data]) => (data ? [[page, data]] : []))) };
    setKnown((before) => learn(before.list === list ? before : beginning(list), wanted, results));
  });

  const failed = results.find(({ isError }) => isError);
  return {
    count: known.end ?? (known.cursors.length - 1) * PER_PAGE,
    rowAt: (index) => loaded.get(Math.floor(index / PER_PAGE))?.rows[index % PER_PAGE],
    total: known.total,
    totalCapped: known.totalCapped,
    pending: known.cursors.length === 1 && known.end === null,
    error: failed?.error ?? null,
    retry: () => void failed?.refetch(),
  };
}

/**
 * Outside of `useWindowed`, for its functions outlive the drawing that made them: what they could see there (the pages of
 * then, and by these the functions of the drawing before) would be kept for ever.
 *
 * @param shown what stands there meanwhile: a page that moved on because of what was added before it stays on the screen
 * until it has come anew.
 */
function pageQuery<R>({ path, parameters, query }: ListPlace, cursor: string, shown: Page<R> | undefined) {
  return {
    queryKey: [path, 'list', parameters, query, cursor],
    queryFn: ({ signal }: { signal: AbortSignal }) =>
      client.page(path, {
        path: parameters,
        filters: query as never,
        cursor,
        perPage: PER_PAGE,
        signal,
      }) as Promise<Page<R>>,
    gcTime: FORGET_MS,
    placeholderData: shown,
  };
}

function beginning(list: string): Known {
  return { list, cursors: [''], end: null, total: 0, totalCapped: false };
}

interface Result {
  data: Page<unknown> | undefined;
  isPlaceholderData: boolean;
}

/** What the pages that have come tell about the others. The same object where that is nothing new. */
function learn(known: Known, wanted: readonly number[], results: readonly Result[]): Known {
  let next = known;
  for (const [n, page] of wanted.entries()) {
    const result = results[n];
    if (result?.data === undefined || result.isPlaceholderData) continue;
    const { rows, next: cursor, total, totalCapped } = result.data;
    if (page === 0 && (total !== next.total || totalCapped !== next.totalCapped))
      next = { ...next, total, totalCapped };
    if (cursor === null) {
      const end = page * PER_PAGE + rows.length;
      if (next.end !== end || next.cursors.length !== page + 1)
        next = { ...next, cursors: next.cursors.slice(0, page + 1), end };
    } else if (next.cursors[page + 1] !== cursor) {
      const cursors = [...next.cursors];
      cursors[page + 1] = cursor;
      next = { ...next, cursors, end: page + 2 > known.cursors.length ? null : next.end };
    }
  }
  return next;
}
