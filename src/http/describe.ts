// GET /openapi.json: the document of the routes, for everyone who may call them or wants to know how.

import type { FastifyPluginAsync } from "fastify";
import type { AccessKind } from "./access.ts";
import { type HttpOptions, openDoor } from "./door.ts";
import { openapi } from "./openapi.ts";
import { addMethodGuard, errorHandler } from "./problems.ts";

/** Serves the OpenAPI document. It is made once, when it is first asked for: then the address is known. */
export function describe(
  options: HttpOptions,
  how: { readonly access: AccessKind; readonly version: string; readonly health: boolean },
): FastifyPluginAsync {
  return async (instance) => {
    const door = openDoor(options);
    let document: string | undefined;
    instance.setErrorHandler(errorHandler(door));
    instance.route({
      method: ["GET", "HEAD"],
      url: "/openapi.json",
      handler: (_request, reply) => {
        document ??= JSON.stringify(
          openapi({ operations: options.operations, publicUrl: options.publicUrl(), ...how }),
        );
        return reply
          .headers({
            "content-type": "application/json",
            "cache-control": "no-cache",
            "x-content-type-options": "nosniff",
          })
          .send(document);
      },
    });
    addMethodGuard(instance, door, "/openapi.json", ["GET", "HEAD"]);
  };
}
