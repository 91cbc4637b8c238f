/** What a POST to the path takes, out of openapi/openapi.json: dashboard/vite.config.ts. */
declare module 'virtual:body/*' {
  const schema: import('./components/json-schema.ts').FieldSchema;
  export default schema;
}
