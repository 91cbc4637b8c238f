import { Type } from 'typebox';
import type { Authenticator } from '../access/authenticate.ts';
import { isChecked } from '../http/check-mode.ts';
import { principalOf } from '../http/context.ts';
import { ownLimit } from '../http/rate-limit.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { type ProofTools, requireProof } from './proof.ts';
import { ConfirmedTotp, ConfirmTotp, ProofInput, TotpEnrolment, TotpState } from './schemas.ts';
import {
  checkPendingCode,
  confirmEnrolment,
  describeSecondFactor,
  enrol,
  removeSecondFactor,
} from './second-factor.ts';

const tags = ['Authentication'];

/** `/v1/auth/totp` */
export function registerTotpRoutes(app: App, services: Services, auth: Authenticator, tools: ProofTools): void {
  const { config, db, encryption, mutate } = services;
  const limit = ownLimit(config.loginRateLimit);

  app.get(
    '/v1/auth/totp',
    {
      config: { access: 'authenticated' },
      schema: {
        tags,
        operationId: 'getTotp',
        summary: 'Whether logins of the caller ask for a code',
        response: { 200: TotpState, ...errorResponses(401, 409) },
      },
    },
    async (request) => describeSecondFactor(db, principalOf(request)),
  );

  app.post(
    '/v1/auth/totp',
    {
      config: { access: 'authenticated', ...limit },
      schema: {
        tags,
        operationId: 'enrolTotp',
        summary: 'Set up an authenticator app',
        description:
          'Answers a secret for an app that makes one-time passwords by time (RFC 6238). Logins ask for codes once one has been confirmed. Where they do already, the present app has to vouch for the change, and stays until the new one is confirmed.',
        body: ProofInput,
        response: { 200: TotpEnrolment, ...errorResponses(400, 401, 409, 429) },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request);
      reply.header('cache-control', 'no-store');
      return mutate(request, reply, {
        prepare: () =>
          requireProof(tools, principal, request.body, {
            what: 'set up a second factor',
            checkMode: isChecked(request),
          }),
        work: (mutation, proof) => enrol(encryption, mutation, proof),
      });
    },
  );

  app.post(
    '/v1/auth/totp/confirm',
    {
      config: { access: 'authenticated', ...limit },
      schema: {
        tags,
        operationId: 'confirmTotp',
        summary: 'Confirm an authenticator app by a code of it',
        description:
          'From now on logins ask for codes. Other sessions of the caller end; API tokens go on. Answers recovery codes in the place of all earlier ones.',
        body: ConfirmTotp,
        response: { 200: ConfirmedTotp, ...errorResponses(400, 401, 409, 429) },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request);
      reply.header('cache-control', 'no-store');
      return mutate(request, reply, {
        prepare: () => checkPendingCode(services, principal, request.body.code),
        work: (mutation, confirmation) => confirmEnrolment(auth, encryption, mutation, confirmation),
      });
    },
  );

  app.post(
    '/v1/auth/totp/remove',
    {
      config: { access: 'authenticated', ...limit },
      schema: {
        tags,
        operationId: 'removeTotp',
        summary: 'Take the second factor off',
        body: ProofInput,
        response: { 200: Type.Object({ enabled: Type.Literal(false) }), ...errorResponses(400, 401, 409, 429) },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request);
      return mutate(request, reply, {
        prepare: () =>
          requireProof(tools, principal, request.body, {
            what: 'take a second factor off',
            checkMode: isChecked(request),
          }),
        work: (mutation, proof) => removeSecondFactor(auth, mutation, proof),
      });
    },
  );
}
