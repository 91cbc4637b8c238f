import { sql } from 'kysely';
import { Type } from 'typebox';
import { createdFilters } from '../../http/created-filters.ts';
import { filter, type ListDefinition } from '../../http/list.ts';
import { ORPHAN_JSON } from './store.ts';

const nullable = (description: string) => Type.Union([Type.String(), Type.Null()], { description });

const PriceSchema = Type.Object(
  {
    currency: Type.Union([Type.String(), Type.Null()], { description: "Null: the account's own currency." }),
    hourly: Type.Number(),
    monthly: Type.Number({ description: 'Maximum for a whole month.' }),
  },
  { title: 'Price' },
);

export const Orphan = Type.Object(
  {
    id: Type.String({ examples: ['orp-abc123'] }),
    provider: Type.String(),
    provider_id: Type.String({ description: "The provider's own id of the server." }),
    hostname: Type.String(),
    workspace: Type.String({
      description: 'The workspace in its label; otherwise the workspace of the account, otherwise `default`.',
    }),
    operation_id: nullable('The operation that its label names.'),
    account: nullable("The workspace whose account shows it; null: the installation's."),
    plan: Type.String(),
    zone: Type.String(),
    ip_address: nullable('Null where it has none.'),
    status: Type.String({
      description: 'Status at the provider. `missing`: protected, but no longer listed by the provider.',
    }),
    tags: Type.Array(Type.String()),
    price: Type.Union([PriceSchema, Type.Null()], { description: 'Null if the provider publishes no prices.' }),
    first_seen: Type.String({ format: 'date-time' }),
    last_seen: Type.String({ format: 'date-time' }),
    deletion_operation_id: nullable('The operation that deletes it, or was to.'),
    protect: Type.Boolean({ description: 'True if it cannot be deleted, not even by `ORPHAN_DELETE_AFTER`.' }),
  },
  { title: 'Orphan' },
);

export const PatchOrphan = Type.Object(
  {
    protect: Type.Boolean({
      description:
        'Protect it from deletion. The protection is kept if the server is adopted. False needs `protection_remove`.',
    }),
  },
  { additionalProperties: false },
);

export const OrphanId = Type.Object(
  { id: Type.String({ minLength: 1, maxLength: 63 }) },
  { additionalProperties: false },
);

const text = (maxLength: number) => Type.String({ minLength: 1, maxLength });

export const ORPHAN_LIST: ListDefinition = {
  table: 'provisioning.orphans',
  json: ORPHAN_JSON,
  id: 'id',
  idType: 'text',
  filters: {
    provider: filter<string>(text(63), (value) => sql<boolean>`provider = ${value}`),
    provider_id: filter<string>(text(253), (value) => sql<boolean>`ref = ${value}`),
    workspace: filter<string>(text(63), (value) => sql<boolean>`workspace = ${value}`),
    zone: filter<string>(text(128), (value) => sql<boolean>`zone = ${value}`),
    plan: filter<string>(text(128), (value) => sql<boolean>`plan = ${value}`),
    ...createdFilters('first_seen_at'),
  },
  sorts: {
    first_seen: { column: 'first_seen_at', type: 'timestamptz' },
    last_seen: { column: 'last_seen_at', type: 'timestamptz' },
    hostname: { column: 'hostname', type: 'text' },
  },
  defaultSort: 'first_seen',
};
