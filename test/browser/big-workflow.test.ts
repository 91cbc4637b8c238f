/** Workflows of hundreds and thousands of steps: they are drawn, told and searched without the page standing still. */
import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import type { Page } from 'playwright-core';
import { drawable, MAX_BOXES } from '../../dashboard/src/components/graph/waves.ts';
import { startInstallation } from '../support/acceptance.ts';
import { makeBigWorkflow } from '../support/big-workflow.ts';
import { until } from '../support/server.ts';
import { startBrowser, visitor } from './support.ts';

const installation = await startInstallation();
const { server, database } = installation;
const browser = await startBrowser();
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
});
after(async () => {
  await browser.close();
  await installation.close();
});

const picture = (page: Page) => page.locator('.picture');
const boxes = (page: Page) => picture(page).locator('[data-step]');

/** Whether something is inside the picture's frame, and how high its letters are on the screen. Pixels. */
async function seen(page: Page, name: string): Promise<{ inside: boolean; letters: number }> {
  const frame = await picture(page).boundingBox();
  const label = boxes(page).locator('.step-name').getByText(name, { exact: true });
  const box = await label.boundingBox();
  if (frame === null || box === null) return { inside: false, letters: 0 };
  const inside =
    box.x >= frame.x &&
    box.y >= frame.y &&
    box.x + box.width <= frame.x + frame.width &&
    box.y + box.height <= frame.y + frame.height;
  return { inside, letters: box.height };
}

for (const width of [1280, 360]) {
  test(`of 200 steps the one that failed is seen first and can be read, and all are seen at once, at ${width} px`, async () => {
    const id = await makeBigWorkflow(server.admin, database.pool, { width: 10, layers: 20 });
    const { page, problems } = await visitor(browser, server, { width });
    await page.goto(`/workflows/${id}`);
    await until(async () => (await boxes(page).count()) === 200, 'a box for each step');
    const { inside, letters } = await seen(page, 'check_14_0');
    assert.ok(inside, 'the failed step is out of sight');
    assert.ok(letters >= 9, `its letters are ${letters} px high`);
    await page.getByRole('button', { name: 'Fit View' }).click();
    await page.locator('.picture[data-far]').waitFor();
    for (const name of ['build_0_0', 'network_1_9', 'server_19_9'])
      assert.ok((await seen(page, name)).inside || width < 1280, `${name} is out of sight`);
    // From afar a step is still chosen by a click.
    await boxes(page).and(page.locator('[data-step="check_14_0"]')).getByRole('button').click();
    await page.getByRole('region', { name: 'Step check_14_0' }).getByRole('alert').getByText('disk is full').waitFor();
    assert.deepEqual(problems, []);
  });
}

test('3,000 nodes are listed without drawing them all, sifted by status and name, and looked into', async () => {
  const id = await makeBigWorkflow(server.admin, database.pool, { width: 10, layers: 30, nodes: 10 });
  const { page, problems } = await visitor(browser, server);
  await page.goto(`/workflows/${id}?as=list`);
  const region = page.getByRole('region', { name: 'Steps' });
  const rows = region.locator('tbody tr:not(.gap)');
  await page.getByText('3,000 steps', { exact: true }).waitFor();
  assert.ok((await rows.count()) < 60, `${await rows.count()} rows are drawn`);
  await rows.first().focus();
  await page.keyboard.press('End');
  await region.getByRole('button', { name: 'service_29_9[9]', exact: true }).waitFor();
  assert.ok((await rows.count()) < 60, `${await rows.count()} rows are drawn`);
  await page.keyboard.press('Enter');
  const panel = page.getByRole('region', { name: 'Step service_29_9[9]', exact: true });
  await panel.getByText('{"seconds":1}').waitFor();

  await page.getByLabel('Steps by status').selectOption('failed');
  await page.getByText('1 step', { exact: true }).waitFor();
  await region.getByRole('button', { name: 'service_21_0[0]' }).waitFor();
  await page.getByLabel('Steps by status').selectOption('');
  await page.getByLabel('Steps by name').fill('service_29');
  await page.getByText('100 steps', { exact: true }).waitFor();
  await page.reload();
  await page.getByText('100 steps', { exact: true }).waitFor();
  await page.getByLabel('Steps by name').fill('no such');
  await page.getByText('No matching steps').waitFor();
  assert.deepEqual(problems, []);
});

test('of 1,500 steps the waves are drawn, each with how its steps stand', async () => {
  const id = await makeBigWorkflow(server.admin, database.pool, { width: 75, layers: 20, nodes: 2 });
  const { page, problems } = await visitor(browser, server);
  await page.goto(`/workflows/${id}`);
  await page.getByText('1,500 steps are too many to draw').waitFor();
  await page.getByRole('button', { name: 'Wave 15 75 steps 1 failed, 149 not run' }).click();
  await page.getByRole('region', { name: 'Step check_14_0[0]' }).waitFor();
  await page.getByRole('button', { name: 'Fit View' }).click();
  await until(async () => (await boxes(page).count()) === 20, 'a box for each wave');
  assert.deepEqual(problems, []);
});

test('a graph that is too big is told by at most two dozen waves, with every node in one of them', () => {
  const stepOf = (n: number) => ({ id: `s${n}`, kind: 'wait', nodes: [{ id: `s${n}`, status: 'waiting' }] });
  const steps = Array.from({ length: 2_000 }, (_, n) => stepOf(n));
  const chain = steps.slice(1).map((step, n) => ({ from: `s${n}`, to: step.id, type: 'hard' as const }));
  const fan = steps.slice(1).map((step) => ({ from: 's0', to: step.id, type: 'hard' as const }));
  for (const [edges, boxesOf] of [
    [chain, 24],
    [fan, 2],
    [[], 1],
  ] as const) {
    const drawn = drawable({ steps, edges });
    assert.equal(drawn.steps.length, boxesOf);
    assert.deepEqual(
      drawn.steps.flatMap(({ nodes }) => nodes.map(({ id }) => id)).sort(),
      steps.map(({ id }) => id).sort(),
    );
    assert.equal(drawn.edges.length, boxesOf - 1);
  }
  const small = { steps: steps.slice(0, MAX_BOXES), edges: [] };
  assert.equal(drawable(small), small);
});
