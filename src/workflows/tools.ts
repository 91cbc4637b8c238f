import type { Limits } from '../limits/limits.ts';
import type { EgressPolicy } from '../outbound/egress.ts';
import type { HostTools } from '../taskservs/procedures/input.ts';
import type { Runtime } from './running/runtime.ts';

/** What the procedures of workflows work with. */
export interface WorkflowTools {
  runtime: Runtime;
  hosts: HostTools;
  /** Where wait nodes may look. */
  egress: EgressPolicy;
  /** How often. */
  limits: Pick<Limits, 'turnToCheck'>;
}
