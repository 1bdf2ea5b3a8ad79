// Stands for an app's own sign-in: sessions, a user table, whatever it has.

export interface User {
  readonly name: string;
}

/** The user that an Authorization header belongs to; null where it belongs to nobody. */
export function signedIn(authorization: string | undefined): User | null {
  return USERS.get(authorization ?? "") ?? null;
}

const USERS: ReadonlyMap<string, User> = new Map([
  ["Bearer token-of-ada", { name: "ada" }],
  ["Bearer token-of-ben", { name: "ben" }],
]);
