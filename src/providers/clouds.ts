import type { CloudSettings } from './cloud-settings.ts';
import type { Provider } from './contract.ts';
import { createUpcloudProvider } from './upcloud/provider.ts';

/** The clouds whose credentials are set, of those that are wanted. */
export function createClouds(settings: CloudSettings, wanted: (name: string) => boolean): Provider[] {
  const { upcloud } = settings;
  const providers: Provider[] = [];
  if (wanted('upcloud') && upcloud.credentials !== null) {
    providers.push(createUpcloudProvider({ ...upcloud, credentials: upcloud.credentials }));
  }
  return providers;
}
