/** Names of types. */
export const TYPE_NAME = '^[a-z][a-z0-9_-]{0,62}$';
/** Bytes of a definition's text at most. */
export const MAX_DEFINITION_BYTES = 262_144;
