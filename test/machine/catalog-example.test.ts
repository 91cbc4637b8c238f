/** docs/contracts/taskserv.md: its worked example is installed from a workspace's folder, just as it stands there. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { suite, test } from 'node:test';
import { loadCatalog } from '../../src/catalog/catalog.ts';
import { needs } from '../support/needs.ts';
import { attemptScript, install, runScript, startHost, testEngine } from './catalog-host.ts';
import { preparedImage } from './prepared-image.ts';

const engine = testEngine();
const skip = engine === null ? 'PROVISIONING_TEST_DOCKER_HOST is not set' : needs('shellcheck');
const NAME = 'notice-board';

suite("the taskserv contract's worked example", { skip }, () => {
  if (engine === null) return;

  test('loads without a mistake, is clean to shellcheck, serves, follows its config, and goes', async () => {
    await using workspace = await exampleWorkspace();
    const shellcheck = spawnSync('shellcheck', workspace.scripts, { encoding: 'utf8' });
    assert.equal(shellcheck.stdout, '');
    assert.equal(shellcheck.status, 0);

    const catalog = await loadCatalog(workspace.root);
    assert.deepEqual(catalog.problems, []);
    await using host = await startHost(engine, { hostname: 'notice-board', image: await preparedImage(engine) });
    const config = { password: 'open-sesame', page: 'Two lines\nof news.' };
    const { definition, order } = await install(host, catalog, NAME, { [NAME]: config });
    assert.deepEqual(
      order.map(({ name }) => name),
      ['os-base', NAME],
    );
    const get = (where: string) => host.run(['curl', '-s', where]);
    assert.equal(await get('http://127.0.0.1:8088/'), 'Two lines\nof news.\n');
    assert.equal(await get('http://reader:open-sesame@127.0.0.1:8088/inside/'), 'You know the password.\n');
    assert.equal(await runScript(host, definition, 'install', config), '');

    const moved = { ...config, port: 9099, password: 'another-one' };
    await runScript(host, definition, 'install', moved);
    await runScript(host, definition, 'check', moved);
    const before = await attemptScript(host, definition, 'check', { ...moved, password: 'open-sesame' });
    assert.match(before.output, /error: the notice board does not take the password/);

    await runScript(host, definition, 'remove', moved);
    assert.doesNotMatch(await host.run(['ps', '-eo', 'args']), /lighttpd|supervise/);
  });
});

async function exampleWorkspace(): Promise<AsyncDisposable & { root: string; scripts: string[] }> {
  const page = await readFile(new URL('../../docs/contracts/taskserv.md', import.meta.url), 'utf8');
  const files = [...page.matchAll(/^\*\*`([a-z.]+)`\*\*\n\n```\w+\n([\s\S]*?)^```$/gm)];
  const root = await mkdtemp(path.join(tmpdir(), 'catalog-example-'));
  const folder = path.join(root, 'taskservs', NAME);
  await mkdir(folder, { recursive: true });
  for (const [, name = '', text = ''] of files) await writeFile(path.join(folder, name), text);
  return {
    root,
    scripts: files.flatMap(([, name = '']) => (name.endsWith('.sh') ? [path.join(folder, name)] : [])),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true }),
  };
}
