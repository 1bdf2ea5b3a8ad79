// Who asks, as the doors know them: what access answers about a request.

import type { IncomingMessage } from "node:http";
import type { Caller } from "../core/jobs.ts";

/** What credentials may do. */
export type Scope = "submit" | "read" | "cancel" | "work" | "admin";

export interface Identity extends Caller {
  readonly scopes: ReadonlySet<Scope>;
}

/** Why nobody was recognised; becomes 401 with `WWW-Authenticate`. The detail never repeats the credentials. */
export interface Denied {
  readonly denied: string;
}

/** Finds out who asks. Rejects only where that can't be known now (503), as when a JWKS can't be fetched. */
export type Access = (request: IncomingMessage) => Identity | Denied | Promise<Identity | Denied>;
