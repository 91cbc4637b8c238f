import sparticuz from '@sparticuz/chromium';
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from 'playwright-core';
import { ADMIN_PASSWORD, type TestServer } from '../support/server.ts';

/** Longest wait for something to show: far above what it takes, for machines that have other work. Milliseconds. */
export const PATIENCE_MS = 90_000;

/** A browser that comes inside an npm package. */
export async function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: await sparticuz.executablePath(),
    // In one process, as it is packaged to run, closing a context would take the browser with it.
    args: sparticuz.args.filter((argument) => !['--single-process', '--no-zygote'].includes(argument)),
    headless: true,
  });
}

export interface Visit {
  page: Page;
  context: BrowserContext;
  /** Requests to any other host than the server. */
  foreign: string[];
  /** Errors on the page and on its console. */
  problems: string[];
}

export interface VisitOptions {
  width?: number;
  colorScheme?: 'light' | 'dark';
}

/** A new visitor, with nothing remembered. */
export async function visit(
  browser: Browser,
  server: Pick<TestServer, 'url'>,
  options: VisitOptions = {},
): Promise<Visit> {
  const context = await browser.newContext({
    baseURL: server.url,
    viewport: { width: options.width ?? 1280, height: 800 },
    colorScheme: options.colorScheme ?? 'light',
    reducedMotion: 'reduce',
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const foreign: string[] = [];
  const problems: string[] = [];
  page.on('request', (request) => {
    if (!request.url().startsWith(server.url) && !/^(data|blob):/.test(request.url())) foreign.push(request.url());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text());
  });
  return { page, context, foreign, problems };
}

export async function signIn(page: Page, username = 'admin', password = ADMIN_PASSWORD): Promise<void> {
  await page.goto('/');
  await page.getByLabel('User').fill(username);
  await page.getByRole('textbox', { name: 'Password' }).fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
}

/** A visitor who has signed in. */
export async function visitor(
  browser: Browser,
  server: Pick<TestServer, 'url'>,
  options: VisitOptions & { username?: string; password?: string } = {},
): Promise<Visit> {
  const visited = await visit(browser, server, options);
  await signIn(visited.page, options.username, options.password).catch(async (error: unknown) => {
    const shown = [...visited.problems, await visited.page.content()].join('\n').slice(0, 4_000);
    throw new Error(`Signing in came to nothing on this page:\n${shown}`, { cause: error });
  });
  return visited;
}

/** The menu's way to a page. */
export function menu(page: Page, name: string): Locator {
  return page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name, exact: true });
}

/** Chooses from a field with a list. */
export async function choose(page: Page, label: string, option: string): Promise<void> {
  await page.getByRole('combobox', { name: label }).click();
  await page.getByRole('option', { name: option, exact: true }).click();
}
