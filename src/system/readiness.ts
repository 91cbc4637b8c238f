/** Whether this process still wants new work. Shared between the start-up code and the health endpoints. */
export interface Readiness {
  /** Set at the beginning of a shutdown: load balancers then send requests elsewhere. */
  draining: boolean;
}

export function createReadiness(): Readiness {
  return { draining: false };
}
