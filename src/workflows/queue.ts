/**
 * Where coordinators wait. It has no limit: one that waits for its nodes costs next to nothing and must not keep a nested
 * one from its place.
 */
export const WORKFLOW_QUEUE = 'workflows';
