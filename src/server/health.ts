// Health for those who watch the process: live says that it runs, ready that it should be sent requests.

import type { FastifyInstance } from "fastify";
import type { Store } from "../store/store.ts";

export interface Health {
  /** From now on the server is not ready: it is going down. */
  drain(): void;
  isDraining(): boolean;
}

/** Adds `/health/live` and `/health/ready`; both need no credentials and tell nothing but that. */
export function addHealth(app: FastifyInstance, store: Store): Health {
  let draining = false;
  const headers = { "cache-control": "no-store", "content-type": "application/json" };
  app.get("/health/live", (_request, reply) => reply.headers(headers).send('{"status":"live"}'));
  app.get("/health/ready", async (_request, reply) => {
    reply.headers(headers);
    if (draining) return reply.code(503).header("retry-after", "5").send('{"status":"draining"}');
    try {
      // The least that a store can be asked: it is asked often, and by many.
      await store.read({ get: "paused" });
      return reply.send('{"status":"ready"}');
    } catch {
      return reply.code(503).header("retry-after", "5").send('{"status":"unavailable"}');
    }
  });
  return {
    drain() {
      draining = true;
    },
    isDraining: () => draining,
  };
}
