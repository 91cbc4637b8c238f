/** Nodes of one workflow at most, those of nested ones included. */
export const MAX_NODES = 20_000;

/** How many nodes there may still be: counted before they are made. */
export interface Room {
  nodes: number;
}
