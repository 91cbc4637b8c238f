import { Type } from 'typebox';
import { SESSION_JSON } from '../access/session-store.ts';
import { createdFilters } from '../http/created-filters.ts';
import type { ListDefinition } from '../http/list.ts';
import { ofUser } from './schemas.ts';

const time = (description: string) => Type.String({ format: 'date-time', description });
const orNull = (description: string) => Type.Union([Type.String(), Type.Null()], { description });

export const Session = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    user: Type.String({ description: 'Who logged in.' }),
    origin: Type.String({ description: 'What vouched for them.', examples: ['password'] }),
    address: orNull('From where it last got tokens.'),
    user_agent: orNull('What the client calls itself.'),
    created_at: time('The login.'),
    last_used_at: time('To the minute.'),
    expires_at: time('It ends then unless it is renewed before.'),
    ends_at: time('It ends then at the latest.'),
  },
  { title: 'Session' },
);
export const EndedSession = Type.Object({ ended: Type.Literal(true), ...Session.properties });

export const SESSION_LIST: ListDefinition = {
  table: 'provisioning.sessions',
  json: SESSION_JSON,
  id: 'id',
  idType: 'uuid',
  filters: { user: ofUser('Sessions'), ...createdFilters() },
  sorts: {
    created_at: { column: 'created_at', type: 'timestamptz' },
    last_used_at: { column: 'last_used_at', type: 'timestamptz' },
  },
  defaultSort: '-last_used_at',
};
