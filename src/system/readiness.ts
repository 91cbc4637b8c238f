import { createDiskWatch, type DiskWatch } from '../database/disk.ts';

/** Whether this process still wants new work. Shared between the start-up code and the health endpoints. */
export interface Readiness {
  /** Set at the beginning of a shutdown: load balancers then send requests elsewhere. Requests are still served. */
  leaving: boolean;
  /** Set once load balancers have had the time to notice: nothing new is let in. */
  draining: boolean;
  /** Where the database writes. */
  readonly disk: DiskWatch;
}

export function createReadiness(disk: DiskWatch = createDiskWatch(null)): Readiness {
  return { leaving: false, draining: false, disk };
}
