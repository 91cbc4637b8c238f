import Docker from 'dockerode';
import { detectDockerHost, USUAL_SOCKETS } from '../../src/providers/docker/provider.ts';

/**
 * The container engine for tests, with the image that they use: the one of PROVISIONING_TEST_DOCKER_HOST, or the one
 * that .ci/podman-up brings up, or the machine's own. Null where none answers.
 * @throws when one was demanded by that variable and does not answer.
 */
export async function containerEngine(): Promise<{ host: string; image: string; socketPath: string } | null> {
  const demanded = process.env.PROVISIONING_TEST_DOCKER_HOST;
  const host = detectDockerHost(demanded, ['/run/provisioning-podman.sock', ...USUAL_SOCKETS]) ?? '';
  const socketPath = /^unix:\/\/(\/.+)$/.exec(host)?.[1];
  const image = process.env.PROVISIONING_TEST_DOCKER_IMAGE ?? 'provisioning-test:debian-12';
  const answers =
    socketPath !== undefined &&
    (await new Docker({ socketPath, host: undefined }).ping().then(
      () => true,
      () => false,
    ));
  if (answers) return { host, image, socketPath };
  if (demanded) throw new Error(`No container engine answers at PROVISIONING_TEST_DOCKER_HOST (${demanded}).`);
  return null;
}
