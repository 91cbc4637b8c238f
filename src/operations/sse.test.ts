import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { FastifyRequest } from 'fastify';
import type { Principal } from '../access/permissions.ts';
import { errors } from '../errors.ts';
import { setPrincipal } from '../http/context.ts';
import { createOpenRequests, formatEvent, formatPosition } from './sse.ts';

describe('server-sent events', () => {
  test('have id, type and data, and end with an empty line', () => {
    assert.equal(formatEvent({ id: '7', event: 'log', data: '{"seq":7}' }), 'id: 7\nevent: log\ndata: {"seq":7}\n\n');
    assert.equal(formatEvent({ event: 'end', data: '{}' }), 'event: end\ndata: {}\n\n');
    assert.equal(formatPosition('1.2.3'), 'id: 1.2.3\n\n');
  });
});

test('a stream goes on only while the token holds with the same roles', async () => {
  const viewer: Principal = {
    userId: 'u',
    name: 'viewer',
    label: 'viewer',
    tokenId: null,
    bindings: [{ role: 'viewer', workspace: 'a' }],
  };
  const request = {} as FastifyRequest;
  setPrincipal(request, viewer);
  const holds = (answer: () => Principal) =>
    createOpenRequests({ open: async () => () => {} }, async () => answer()).stillHolds(request);
  const refuse = (error: Error) => () => {
    throw error;
  };
  assert.equal(await holds(() => structuredClone(viewer)), true);
  assert.equal(await holds(() => ({ ...viewer, bindings: [] })), false);
  assert.equal(await holds(refuse(errors.unauthenticated())), false);
  assert.equal(await holds(refuse(new Error('the database is away'))), true);
});
