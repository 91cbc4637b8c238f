import type { Logger } from 'pino';
import type { Encryption } from './access/encryption.ts';
import { type Config, ConfigError } from './config.ts';
import type { Database } from './database/pool.ts';
import { cloudKinds } from './providers/clouds.ts';
import type { Provider } from './providers/contract.ts';
import { createDockerProvider, detectDockerHost } from './providers/docker/provider.ts';
import { readInstallationId } from './providers/installation.ts';
import { createRegistry, type ProviderRegistry } from './providers/registry.ts';
import { createSimulatedProvider } from './providers/simulated/provider.ts';
import { keptAccounts } from './workspaces/credentials.ts';

/** The providers that the settings enable, and the clouds at which workspaces may have accounts of their own. */
export async function openProviders(
  config: Config,
  db: Database,
  encryption: Encryption,
  logger: Logger,
): Promise<ProviderRegistry> {
  const wanted = (name: string) => config.providers === null || config.providers.includes(name);
  const fixed: Provider[] = [];
  if (wanted('simulated')) {
    const { latencyMs, faults } = config.simulated;
    fixed.push(createSimulatedProvider({ db, latencyMs, faults }));
  }
  const dockerHost = wanted('docker')
    ? detectDockerHost(config.docker.host ?? undefined, config.docker.candidates)
    : null;
  const installation = await readInstallationId(db);
  if (dockerHost !== null) {
    fixed.push(createDockerProvider({ ...config.docker, host: dockerHost, installation }));
  }
  const clouds = cloudKinds(config.clouds, installation, wanted);
  const known = [...fixed, ...clouds].map(({ name }) => name);
  const missing = (config.providers ?? []).filter((name) => !known.includes(name));
  if (missing.length > 0) {
    throw new ConfigError(
      `PROVISIONING_PROVIDERS names ${missing.join(', ')}, which cannot be enabled here: unknown, or its settings are missing.`,
    );
  }
  const registry = createRegistry(fixed, clouds, keptAccounts(db, encryption));
  logger.info(
    {
      providers: registry.names(),
      only_with_accounts_of_workspaces: clouds.filter(({ own }) => own === null).map(({ name }) => name),
    },
    'providers enabled',
  );
  return registry;
}
