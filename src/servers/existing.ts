/** What stands as the provider of machines that no provider made, and as their zone. */
export const EXISTING = 'existing';
/** Name of the queue of imports. Each owner has a part of it: a machine may not answer for long. */
export const IMPORT_QUEUE = 'imports-by-owner';
