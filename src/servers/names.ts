/** How servers are named in requests: by id or by hostname. */
import { errors } from '../errors.ts';

/** The form of ids, as `shortId` makes them. */
const ID = /^srv-[a-z0-9]{12}$/;
/** Why a hostname is refused that has that form. */
export const LIKE_AN_ID = 'has the form of a server id ("srv-" and 12 letters or digits); choose another name';

/** Such a text is only ever an id, also where a server of earlier versions has it for a hostname. */
export function isServerId(text: string): boolean {
  return ID.test(text);
}

/** @throws 400 for a new server's hostname that could be mistaken for the id of another one. */
export function requireNoId(hostname: string): void {
  if (isServerId(hostname)) throw errors.validation([{ field: 'hostname', message: `"${hostname}" ${LIKE_AN_ID}` }]);
}
