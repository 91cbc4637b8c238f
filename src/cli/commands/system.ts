import type { CommandDefinition } from '../command.ts';

/** The server itself. */
export const systemCommands: readonly CommandDefinition[] = [
  {
    name: 'status',
    summary: 'show the health of the server',
    examples: ['provisioning status'],
    covers: ['GET /health', 'GET /health/live', 'GET /health/ready', 'GET /v1/metrics'],
    async run(session) {
      const client = await session.client();
      const [health, live, ready, metrics] = await Promise.all([
        client.get('/health'),
        client.get('/health/live'),
        client.get('/health/ready').then(
          () => true,
          () => false,
        ),
        // What is counted is not for everyone's eyes; that the server is well is.
        client.get('/v1/metrics').catch(() => null),
      ]);
      const tasks = metrics === null ? {} : { operations: metrics.tasks.total, running: metrics.tasks.running };
      session.record({ ...health, live: live.status === 'alive', ready, ...tasks }, { name: 'status' });
    },
  },
  {
    name: 'metrics',
    summary: 'print the metrics for Prometheus',
    examples: ['provisioning metrics'],
    covers: ['GET /metrics'],
    plain: 'the text that Prometheus reads',
    async run(session) {
      session.terminal.out(String(await (await session.client()).get('/metrics')));
    },
  },
];
