import { createAwsProvider } from './aws/provider.ts';
import type { CloudSettings } from './cloud-settings.ts';
import type { Provider } from './contract.ts';
import { createHetznerProvider } from './hetzner/provider.ts';
import { createUpcloudProvider } from './upcloud/provider.ts';

/** The clouds whose credentials are set, of those that are wanted. */
export function createClouds(settings: CloudSettings, wanted: (name: string) => boolean): Provider[] {
  const { upcloud, hetzner, aws } = settings;
  const providers: Provider[] = [];
  if (wanted('upcloud') && upcloud.credentials !== null) {
    providers.push(createUpcloudProvider({ ...upcloud, credentials: upcloud.credentials }));
  }
  if (wanted('hetzner') && hetzner.credentials !== null) {
    providers.push(createHetznerProvider({ ...hetzner, credentials: hetzner.credentials }));
  }
  if (wanted('aws') && aws !== null) providers.push(createAwsProvider(aws));
  return providers;
}
