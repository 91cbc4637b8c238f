import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify';
import type { Encryption } from '../access/encryption.ts';
import type { Issuers } from '../access/sso/issuers.ts';
import type { Config } from '../config.ts';
import type { Listener } from '../database/listener.ts';
import type { Database } from '../database/pool.ts';
import type { Engine } from '../engine/engine.ts';
import type { Limits } from '../limits/limits.ts';
import type { EgressPolicy } from '../outbound/egress.ts';
import type { ProviderRegistry } from '../providers/registry.ts';
import type { Hosts } from '../transports/hosts.ts';
import type { Mutate } from './mutation.ts';

/** The HTTP application as sections see it: handlers are typed by their schemas. */
export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

/** What a section may use. Built once at start (src/server.ts). */
export interface Services {
  config: Config;
  db: Database;
  listener: Listener;
  engine: Engine;
  providers: ProviderRegistry;
  hosts: Hosts;
  mutate: Mutate;
  /** For what rests in the database encrypted. */
  encryption: Encryption;
  /** Id of this installation. */
  installation: string;
  /** Where users may have the server connect to. */
  egress: EgressPolicy;
  /** Identity providers, asked. */
  issuers: Issuers;
  /** Asks the issuer of a session, where that is due, whether it still vouches for its user. False: it could not for too long. */
  checkSession: (sessionId: string) => Promise<boolean>;
  limits: Limits;
}
