import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { me } from '../queries.ts';

type Principal = Awaited<ReturnType<Exclude<typeof me.queryFn, undefined | symbol>>>;

/** Shows what needs a permission only to those who have it somewhere; the server decides in the end. */
export function Permitted({ to, children }: { to: Principal['permissions'][number]; children: ReactNode }) {
  const { data } = useQuery(me);
  return data?.permissions.includes(to) === true ? children : null;
}
