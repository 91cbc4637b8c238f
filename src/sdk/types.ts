/** Types of a request by method and path, taken from the generated description of the API. */
import type { components, paths } from './api.gen.ts';

/** Named shapes of the API, such as `Schemas['Server']`. */
export type Schemas = components['schemas'];
export type Server = Schemas['Server'];
export type Operation = Schemas['Operation'];
export type OperationEvent = Schemas['OperationEvent'];
export type FeedEvent = Schemas['FeedEvent'];

export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';

/** The paths that know a method. */
type PathOf<M extends Method> = {
  [P in keyof paths]: paths[P] extends { [K in M]: infer O } ? ([O] extends [undefined] ? never : P) : never;
}[keyof paths];

type Described<M extends Method, P extends keyof paths> = paths[P] extends { [K in M]: infer O } ? O : never;
type Parameters<O, K extends 'path' | 'query'> = O extends { parameters: { [X in K]: infer V } }
  ? V
  : O extends { parameters: { [X in K]?: infer V } }
    ? V | undefined
    : undefined;
type JsonBody<O> = O extends { requestBody: { content: { 'application/json': infer B } } }
  ? B
  : O extends { requestBody?: { content: { 'application/json': infer B } } }
    ? B | undefined
    : undefined;

/** What a successful request answers. */
type Answer<M extends Method, P extends keyof paths> =
  Described<M, P> extends { responses: { 200: { content: infer C } } } ? C[keyof C] : undefined;

/** Leaves out what the endpoint does not take, and makes optional what need not be given. */
type Given<T> = { [K in keyof T as [T[K]] extends [undefined] ? never : undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as [T[K]] extends [undefined] ? never : undefined extends T[K] ? K : never]?: T[K];
};

/** What a request may carry besides what its endpoint takes. */
interface RequestExtras {
  /** Ends the request; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** For POST, PUT, PATCH and DELETE. Made by the client where absent, so that its own retries are safe. */
  idempotencyKey?: string;
}

type Input<M extends Method, P extends keyof paths> = Given<{
  path: Parameters<Described<M, P>, 'path'>;
  query: Parameters<Described<M, P>, 'query'>;
  body: JsonBody<Described<M, P>>;
}>;

/** The last argument of a request: required exactly where the endpoint requires something. */
type Arguments<M extends Method, P extends keyof paths> =
  Record<string, never> extends Input<M, P>
    ? [options?: Input<M, P> & RequestExtras]
    : [options: Input<M, P> & RequestExtras];

/** A typed request: `get('/v1/servers/{id}', { path: { id } })`. */
export type Call<M extends Method> = <P extends PathOf<M>>(
  path: P,
  ...options: Arguments<M, P>
) => Promise<Answer<M, P>>;

/** The lists that know pages, and what a row of theirs is. */
export type ListPath = {
  [P in PathOf<'get'>]: Parameters<Described<'get', P>, 'query'> extends infer Q
    ? Q extends { cursor?: string }
      ? P
      : never
    : never;
}[PathOf<'get'>];
export type Row<P extends ListPath> = Answer<'get', P> extends (infer R)[] ? R : never;
export type Filters<P extends ListPath> = Omit<
  NonNullable<Parameters<Described<'get', P>, 'query'>>,
  'page' | 'per_page' | 'cursor'
>;
