import confirmBody from 'virtual:body/v1/auth/totp/confirm';
import type { FieldSchema } from './json-schema.ts';

export const CODE: FieldSchema = { ...confirmBody.properties?.code, description: 'Current code from the app.' };

/** The own password, and a code where one is asked for, as fields of a form. */
export function proofSchema(asksCode: boolean): FieldSchema & Required<Pick<FieldSchema, 'properties' | 'required'>> {
  const password: FieldSchema = { type: 'string', minLength: 1, secret: true, description: 'Your own password.' };
  return asksCode
    ? { type: 'object', required: ['your_password', 'code'], properties: { your_password: password, code: CODE } }
    : { type: 'object', required: ['your_password'], properties: { your_password: password } };
}

/** What was entered in these fields. */
export function proofOf({ your_password: password, code }: Record<string, unknown>) {
  return { password: String(password), ...(code === undefined ? {} : { totp: String(code) }) };
}
