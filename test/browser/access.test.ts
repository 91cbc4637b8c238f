/** For everybody: by axe's rules, on a telephone, in the dark, by keyboard alone. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, test } from 'node:test';
import type axe from 'axe-core';
import type { Page } from 'playwright-core';
import { startInstallation } from '../support/acceptance.ts';
import { everyPage } from './pages.ts';
import { startBrowser, visitor } from './support.ts';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const installation = await startInstallation();
const { server } = installation;
const browser = await startBrowser();
after(async () => {
  await browser.close();
  await installation.close();
});
const pages = await everyPage(server.admin);

/** Where the page breaks a rule of WCAG 2.2 AA or of good practice so that it hinders somebody. */
async function violations(page: Page): Promise<string[]> {
  // The page may not run what is not its own: the rules come by way of the debugger.
  await page.evaluate(await (await import('node:fs/promises')).readFile(AXE, 'utf8'));
  const results = await page.evaluate(() => {
    const { axe: rules } = globalThis as unknown as { axe: typeof axe };
    return rules.run({ resultTypes: ['violations'] });
  });
  return results.violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 200)} ${failureSummary}`),
    );
}

for (const [colorScheme, width] of [
  ['light', 1280],
  ['dark', 360],
] as const) {
  test(`every page is accessible and fits at ${width} px, ${colorScheme}`, async () => {
    const { page, context, problems } = await visitor(browser, server, { colorScheme, width });
    const html = page.locator('html');
    assert.equal(await html.getAttribute('data-mantine-color-scheme'), colorScheme);
    const found: string[] = [];
    for (const { to, heading } of pages) {
      await page.goto(to);
      await page.getByRole('heading', { name: heading, level: 1, exact: true }).waitFor();
      await page.getByLabel('Loading').first().waitFor({ state: 'detached' });
      found.push(...(await violations(page)).map((text) => `${to}: ${text}`));
      const overflow = await html.evaluate((element) => element.scrollWidth - element.clientWidth);
      if (overflow > 0) found.push(`${to} is ${overflow} px too wide`);
    }
    assert.deepEqual(found, []);
    assert.deepEqual(problems, []);
    await context.close();
  });
}

test('a list is walked through and a row opened by keyboard alone', async () => {
  const { page, context } = await visitor(browser, server);
  await page.goto('/servers');
  const rows = page.getByRole('region', { name: 'servers' }).locator('tbody tr');
  await rows.first().waitFor();
  await rows.first().focus();
  await page.keyboard.press('End');
  const last = rows.last();
  await last.and(page.locator(':focus')).waitFor();
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowDown');
  const name = await rows.nth(1).and(page.locator(':focus')).getByRole('link').first().textContent();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: name ?? '', level: 1 }).waitFor();
  await context.close();
});

test('on a telephone the menu opens by keyboard and leads on', async () => {
  const { page, context } = await visitor(browser, server, { width: 360 });
  await page.getByRole('button', { name: 'Menu' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'Workspaces' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Workspaces' }).waitFor();
  await context.close();
});
