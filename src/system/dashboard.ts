import { existsSync } from 'node:fs';
import path from 'node:path';
import fastifyStatic from '@fastify/static';
import type { FastifyReply } from 'fastify';
import type { App } from '../http/section.ts';
import { ROOT } from '../root.ts';

/** Where `npm run build:dashboard` puts it. */
const DASHBOARD = path.join(ROOT, 'dist/dashboard');
/** The pages of dashboard/src/router.tsx. Anything else is answered as the API answers what it does not know. */
const PAGES = [
  'servers',
  'taskservs',
  'workflows',
  'operations',
  'workspaces',
  'catalog',
  'providers',
  'users',
  'tokens',
  'account',
  'audit',
  'schedules',
  'webhooks',
  'orphans',
];
const PUBLIC = { config: { access: 'public' as const }, schema: { hide: true } };

/** Serves the dashboard at `/`. It is one page; which of its views is shown stands in the address. */
export async function installDashboard(app: App): Promise<void> {
  if (!existsSync(path.join(DASHBOARD, 'index.html'))) {
    app.get('/', PUBLIC, (_request, reply) =>
      reply
        .type('text/plain; charset=utf-8')
        .send('The dashboard is not built: npm run build:dashboard. The API: /docs\n'),
    );
    return;
  }
  await app.register(fastifyStatic, { root: DASHBOARD, serve: false, preCompressed: true, index: false });
  // The page itself is asked for anew each time; what it refers to carries a hash of its contents in its name.
  const page = (_request: unknown, reply: FastifyReply) =>
    reply.header('cache-control', 'no-cache').sendFile('index.html', { cacheControl: false });
  for (const route of ['/', '/login', ...PAGES.flatMap((name) => [`/${name}`, `/${name}/*`])])
    app.get(route, PUBLIC, page);
  app.get('/assets/*', PUBLIC, (request, reply) =>
    reply.sendFile(`assets/${(request.params as { '*': string })['*']}`, { immutable: true, maxAge: '365d' }),
  );
}
