import { load, requestBytes } from './support/http.ts';
import { startInstallation } from './support/installation.ts';
import { insertOperations } from './support/rows.ts';
import { alternate, type Benchmark, compare } from './support/stats.ts';

const OPERATIONS = 1_000_000;
const PER_PAGE = 100;
const REQUESTS = 100;
/** Of those that walk through the whole index. */
const DEEP_REQUESTS = 3;
const ROUNDS = 7;

export const lists: Benchmark = {
  name: 'lists',
  about: 'the last page of a million operations, against the first',
  async run(log) {
    await using installation = await startInstallation({ ROLE: 'api' });
    const { server, pool } = installation;
    log(`inserting ${OPERATIONS.toLocaleString('en')} operations`);
    await insertOperations(pool, OPERATIONS);
    const milliseconds = (query: string, requests: number) => {
      const request = requestBytes('GET', `/v1/operations?per_page=${PER_PAGE}&${query}`, server.admin.token);
      return async () =>
        ((await load({ url: server.url, connections: 1, count: requests, request: () => request })) / requests) * 1_000;
    };
    const lastPage = Math.ceil(OPERATIONS / PER_PAGE);
    const cursor = await alternate(ROUNDS, milliseconds('cursor=last', REQUESTS), milliseconds('cursor=', REQUESTS));
    const numbered = await alternate(
      ROUNDS,
      milliseconds(`page=${lastPage}`, DEEP_REQUESTS),
      milliseconds('page=1', REQUESTS),
    );
    return [
      compare('last page by cursor, against the first', cursor, 'ms', { atMost: 1.5 }),
      compare(`page ${lastPage} by number, against page 1`, numbered, 'ms', { atMost: 1.5 }),
    ];
  },
};
