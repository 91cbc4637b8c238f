import type { Page } from 'playwright-core';
import { startBrowser, visitor } from '../test/browser/support.ts';
import { until } from '../test/support/server.ts';
import { startInstallation } from './support/installation.ts';
import { insertOperations, insertServers } from './support/rows.ts';
import { alternate, type Benchmark, compare, type Line, plain } from './support/stats.ts';

const SERVERS = 100_000;
const OPERATIONS = 1_000_000;
const ROUNDS = 5;
/** Rows that are scrolled over while frames are timed and before memory is looked at again. */
const SCROLLED_ROWS = 20_000;
const WARM_ROWS = 2_000;
/** Pixels a frame: some 4,500 rows a second, as a hand at the scrollbar does. */
const STEP = 3_000;

export const dashboard: Benchmark = {
  name: 'dashboard',
  about: `lists of ${SERVERS.toLocaleString('en')} servers and ${OPERATIONS.toLocaleString('en')} operations in a browser`,
  async run(log) {
    await using installation = await startInstallation({ ROLE: 'api' });
    const { server, pool } = installation;
    log('inserting');
    await insertServers(pool, SERVERS);
    await insertOperations(pool, OPERATIONS);
    const browser = await startBrowser();
    try {
      const { page } = await visitor(browser, server);
      const lines: Line[] = [];
      for (const [list, few] of [
        ['servers', 'hostname=host-1'],
        ['operations', 'resource=server:srv-1'],
      ] as const) {
        log(list);
        const pairs = await alternate(
          ROUNDS,
          () => open(page, `/${list}`, list),
          () => open(page, `/${list}?${few}`, list),
        );
        lines.push(compare(`${list}: page loaded to rows shown, against a list of one`, pairs, 'ms', { atMost: 1.5 }));
        lines.push(...(await scroll(page, list)));
      }
      return lines;
    } finally {
      await browser.close();
    }
  },
};

/** Loads the page anew. @returns milliseconds until its first row is there and the page answers again. */
async function open(page: Page, to: string, list: string): Promise<number> {
  const started = performance.now();
  await page.goto(to, { waitUntil: 'commit' });
  await page.getByRole('region', { name: list }).locator('tbody tr a').first().waitFor();
  await page.evaluate('new Promise((done) => requestAnimationFrame(() => setTimeout(done)))');
  return performance.now() - started;
}

/** Scrolls far, and tells what a frame took and what memory was kept. */
async function scroll(page: Page, list: string): Promise<Line[]> {
  await open(page, `/${list}`, list);
  // The browser compiles what scrolling runs, and keeps that.
  await scrollTo(page, WARM_ROWS);
  const before = await keptMebibytes(page);
  const frames = await scrollTo(page, SCROLLED_ROWS);
  const sorted = frames.slice(1).sort((a, b) => a - b);
  const share = (part: number) => sorted[Math.floor(sorted.length * part)] ?? Number.NaN;
  const after = await keptMebibytes(page);
  return [
    plain(`${list}: a frame while ${SCROLLED_ROWS.toLocaleString('en')} rows pass, median`, [share(0.5)], 'ms'),
    plain(`${list}: the slowest of twenty frames`, [share(0.95)], 'ms'),
    compare(
      `${list}: memory kept after them, against after ${WARM_ROWS.toLocaleString('en')}`,
      [{ ours: after, floor: before }],
      'MiB',
      { atMost: 1.2 },
    ),
  ];
}

/** @returns what each frame took on the way down to a row. Milliseconds. */
async function scrollTo(page: Page, row: number): Promise<number[]> {
  await page.evaluate(`globalThis.frames_ = []; globalThis.scrolled_ = false;
    (() => {
      const region = document.querySelector('.rows');
      let last = performance.now();
      const step = (now) => {
        globalThis.frames_.push(now - last);
        last = now;
        region.scrollTop += ${STEP};
        const rows = region.scrollTop / 40;
        if (rows < ${row}) requestAnimationFrame(step);
        else globalThis.scrolled_ = true;
      };
      requestAnimationFrame(step);
    })()`);
  await until(async () => (await page.evaluate('globalThis.scrolled_')) === true, 'the end of scrolling', 120_000);
  return (await page.evaluate('globalThis.frames_')) as number[];
}

/** What the page's own objects take once all that is let go has gone. */
async function keptMebibytes(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page);
  // What is out of sight is let go of after five seconds.
  await page.waitForTimeout(7_000);
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  await session.detach();
  return usedSize / 1_048_576;
}
