import { createEgressPolicy, readAllowedNetwork } from '../../src/outbound/egress.ts';

/** Lets connections go to this machine as well. */
export const loopbackEgress = createEgressPolicy({
  allow: [readAllowedNetwork('127.0.0.0/8')],
  private: ['host'],
  local: [],
});
