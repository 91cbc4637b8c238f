import { after, before, describe } from 'node:test';
import { caringTests } from './provider-suite/caring.ts';
import { changingTests } from './provider-suite/changing.ts';
import { openSuite, type ProviderSetup } from './provider-suite/context.ts';
import { lookingTests } from './provider-suite/looking.ts';
import { makingTests } from './provider-suite/making.ts';

/**
 * Registers the conformance tests of one provider: docs/contracts/provider.md, run. Each test is named by the rules it
 * proves. Tests that need a hook which the setup does not offer are skipped and say so.
 */
export function providerSuite(name: string, setUp: () => Promise<ProviderSetup>): void {
  describe(`the provider contract: ${name}`, () => {
    let setup: ProviderSetup | undefined;
    const suite = openSuite(() => {
      if (!setup) throw new Error('the setup is there once the tests run');
      return setup;
    });

    before(async () => {
      setup = await setUp();
    });
    after(async () => {
      if (!setup) return;
      await suite.deleteAll();
      // P3: twice. A timer or connection left open would keep the test process from ending.
      await setup.provider.close?.();
      await setup.provider.close?.();
      await setup.dispose();
    });

    lookingTests(suite);
    makingTests(suite);
    changingTests(suite);
    caringTests(suite);
  });
}
