/**
 * Takes a picture of every page of the dashboard on a real server with demo data: light and dark, 1280 and 360 px wide.
 *
 *   npm run screenshots                      into docs/images
 *   npm run screenshots -- --only overview --format png --out /tmp/pictures
 */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { startInstallation } from '../bench/support/installation.ts';
import { signIn, startBrowser, visit } from '../test/browser/support.ts';
import { makeWorld, type World } from './screenshots/world.ts';

const WIDTHS = [1280, 360];
const SCHEMES = ['light', 'dark'] as const;
/** Of WebP: text stays sharp, and a page takes some 20 KB. */
const QUALITY = 60;

const { values: flags } = parseArgs({
  options: {
    out: { type: 'string', default: 'docs/images' },
    format: { type: 'string', default: 'webp' },
    only: { type: 'string', multiple: true },
  },
});
const format = flags.format === 'png' ? 'png' : 'webp';

/** A page by the name of its picture: where it is, and what shows when it is there. */
interface Shot {
  name: string;
  to: string;
  ready: (page: Page) => Promise<unknown>;
}

function shotsOf(world: World): Shot[] {
  const heading = (name: string) => (page: Page) => page.getByRole('heading', { name, level: 1 }).waitFor();
  const drawn = (page: Page) => page.locator('.picture [data-step]').first().waitFor();
  const told = (page: Page) => page.locator('.log-line').first().waitFor();
  const shots: Shot[] = [
    { name: 'overview', to: '/', ready: heading('Overview') },
    { name: 'servers', to: '/servers', ready: (page) => page.getByRole('link', { name: 'web-01' }).waitFor() },
    { name: 'server', to: `/servers/${world.serverId}`, ready: heading('web-01') },
    { name: 'create-server', to: '/servers/create', ready: heading('Create a server') },
    {
      name: 'taskservs',
      to: '/taskservs',
      ready: (page) => page.getByRole('link', { name: 'redis' }).first().waitFor(),
    },
    { name: 'taskserv', to: `/taskservs/${world.taskservId}`, ready: heading('nginx') },
    { name: 'catalog', to: '/catalog', ready: heading('Catalog') },
    { name: 'install', to: '/catalog/postgresql', ready: heading('Install postgresql') },
    { name: 'workflows', to: '/workflows', ready: (page) => page.getByRole('link', { name: 'release' }).waitFor() },
    { name: 'workflow', to: `/workflows/${world.runningWorkflowId}`, ready: drawn },
    { name: 'workflow-approval', to: `/workflows/${world.approvalWorkflowId}`, ready: drawn },
    { name: 'workflow-200', to: `/workflows/${world.bigWorkflowId}`, ready: drawn },
    {
      name: 'workflow-200-whole',
      to: `/workflows/${world.bigWorkflowId}`,
      ready: async (page) => {
        await drawn(page);
        await page.getByRole('button', { name: 'Fit View' }).click();
        await page.locator('.picture[data-far]').waitFor();
      },
    },
    { name: 'workflow-steps', to: `/workflows/${world.bigWorkflowId}?as=list`, ready: heading('batch') },
    { name: 'workflow-1500', to: `/workflows/${world.hugeWorkflowId}`, ready: drawn },
    { name: 'run-workflow', to: '/workflows/submit', ready: heading('Run a workflow') },
    { name: 'operations', to: '/operations', ready: heading('Operations') },
    { name: 'operation', to: `/operations/${world.runningOperationId}`, ready: told },
    { name: 'operation-failed', to: `/operations/${world.failedOperationId}`, ready: told },
    { name: 'workspaces', to: '/workspaces', ready: heading('Workspaces') },
    { name: 'providers', to: '/providers', ready: heading('Providers') },
    { name: 'webhooks', to: '/webhooks', ready: heading('Webhooks') },
    { name: 'schedules', to: '/schedules', ready: heading('Schedules') },
    {
      name: 'editor',
      to: '/workflows/editor',
      ready: async (page) => {
        await page.getByText('No problems found.').waitFor();
        await drawn(page);
      },
    },
    { name: 'workspace', to: '/workspaces/production', ready: heading('production') },
    { name: 'import-server', to: '/servers/import', ready: heading('Import existing server') },
    { name: 'orphans', to: '/orphans', ready: heading('Orphans') },
    { name: 'users', to: '/users', ready: heading('Users') },
    { name: 'tokens', to: '/tokens', ready: heading('API tokens') },
    { name: 'account', to: '/account', ready: heading('Your account') },
    { name: 'audit', to: '/audit', ready: heading('Audit log') },
  ];
  return shots.filter(({ name }) => flags.only === undefined || flags.only.includes(name));
}

/** How long a page must not have fetched anything to be at rest. Milliseconds. */
const REST_MS = 400;

/** What the page needs besides: until nothing is fetched any more but what is followed for ever, and it is drawn. */
async function settle(page: Page): Promise<void> {
  let fetched = performance.now();
  const note = () => {
    fetched = performance.now();
  };
  page.on('request', note).on('requestfinished', note);
  while (performance.now() - fetched < REST_MS) await page.waitForTimeout(REST_MS / 4);
  page.off('request', note).off('requestfinished', note);
  await page.getByLabel('Loading').first().waitFor({ state: 'detached' });
  await page.evaluate('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))');
}

async function picture(page: Page, file: string): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const { data } = await session.send('Page.captureScreenshot', {
    format,
    ...(format === 'webp' ? { quality: QUALITY } : {}),
  });
  await session.detach();
  await writeFile(file, Buffer.from(data, 'base64'));
}

async function shoot(browser: Browser, server: Parameters<typeof visit>[1], world: World): Promise<void> {
  for (const width of WIDTHS) {
    for (const colorScheme of SCHEMES) {
      const { page } = await visit(browser, server, { width, colorScheme });
      const fileOf = (name: string) => path.join(flags.out, `${name}-${width}-${colorScheme}.${format}`);
      if (flags.only === undefined || flags.only.includes('sign-in')) {
        await page.goto('/login');
        await page.getByRole('button', { name: 'Sign in' }).waitFor();
        await picture(page, fileOf('sign-in'));
      }
      await signIn(page);
      for (const { name, to, ready } of shotsOf(world)) {
        await page.goto(to);
        await ready(page);
        await settle(page);
        await picture(page, fileOf(name));
      }
      await page.context().close();
    }
  }
}

await mkdir(flags.out, { recursive: true });
await using installation = await startInstallation({ SIMULATED_LATENCY_MS: '20', HEALTH_CHECK_INTERVAL: '0' });
const world = await makeWorld(installation.server, installation.pool);
const browser = await startBrowser();
try {
  await shoot(browser, installation.server, world);
} finally {
  await browser.close();
}
