// The caller's door as a Fastify plugin: registers the routes of the protocol, each behind the guard, and nothing outside of itself.

import type {
  FastifyInstance,
  FastifyPluginAsync,
  FastifyReply,
  FastifyRequest,
  HTTPMethods,
  onRequestHookHandler,
  RouteHandlerMethod,
} from "fastify";
import { problem } from "../core/problem.ts";
import { PRIVATE } from "../protocol/answer.ts";
import { wwwAuthenticate } from "./access.ts";
import { closeDoor, type Door, type HttpOptions, openDoor } from "./door.ts";
import type { Denied, Identity, Scope } from "./identity.ts";
import { CALLERS_ID } from "./limits.ts";
import { listJobs } from "./list.ts";
import { cancelJob, getStatus } from "./monitor.ts";
import { addMethodGuard, addPages, errorHandler } from "./problems.ts";
import { sendProblem } from "./reply.ts";
import { getResult, type ResultParams } from "./result.ts";
import { NOT_RANDOM, submit, submitWithId } from "./submit.ts";

export type { HttpLog, HttpOptions } from "./door.ts";

/**
 * The routes of a caller: the operations' paths, /jobs and what is below it, /problems and /rels. It brings its own body
 * reading and error handling and leaves those of the app around it alone; hooks of the app run as for its own routes.
 * Closing the app ends all waits and uploads.
 */
export function plugin(options: HttpOptions): FastifyPluginAsync {
  return async (instance) => {
    const door = openDoor(options);
    instance.decorateRequest("coatcheckIdentity", null);
    instance.setErrorHandler(errorHandler(door));
    // Bodies are read by the handlers, once everything is judged that needs no body.
    instance.removeAllContentTypeParsers();
    instance.addContentTypeParser("*", (_request, _payload, done) => done(null));
    instance.addHook("preClose", () => closeDoor(door));
    for (const ready of door.operations.values()) {
      addResource(instance, door, ready.operation.path, [
        {
          method: ["POST"],
          scope: "submit",
          handle: (request, reply) => submit(door, ready, request, reply),
        },
      ]);
    }
    addResource(instance, door, "/jobs", [
      { method: READ, scope: "read", handle: (request, reply) => listJobs(door, request, reply) },
    ]);
    addResource<{ id: string }>(instance, door, "/jobs/:id", [
      { method: READ, scope: "read", handle: (request, reply) => getStatus(door, request, reply) },
      { method: ["PUT"], scope: "submit", handle: (request, reply) => submitWithId(door, request, reply) },
      { method: ["DELETE"], scope: "cancel", handle: (request, reply) => cancelJob(door, request, reply) },
    ]);
    addResource<ResultParams>(instance, door, "/jobs/:id/result", [
      { method: READ, scope: "read", handle: (request, reply) => getResult(door, request, reply) },
    ]);
    // Not `:name`: hosts bound what a parameter may have, Fastify by 100 characters, and names are longer.
    addResource<ResultParams>(instance, door, "/jobs/:id/result/*", [
      { method: READ, scope: "read", handle: (request, reply) => getResult(door, request, reply) },
    ]);
    addTooLong(instance, door);
    addPages(instance, door);
  };
}

const READ: HTTPMethods[] = ["GET", "HEAD"];

/**
 * Ids that are too long to be looked up. Left to the app around us they would be answered by its own router, with 414 and
 * its own words. This is asked only where no other route below /jobs matched.
 */
function addTooLong(instance: FastifyInstance, door: Door): void {
  const [isKnown, mayPut] = [guard(door, "read"), guard(door, "submit")];
  instance.route<{ Params: { "*": string } }>({
    method: instance.supportedMethods as HTTPMethods[],
    url: "/jobs/*",
    onRequest(request, reply, done) {
      const [id = ""] = request.params["*"].split("/", 1);
      if (id.length <= CALLERS_ID.most) return void reply.callNotFound();
      const judge = request.method === "PUT" ? mayPut : isKnown;
      judge.call(this, request, reply, done);
    },
    handler: (request, reply) => {
      if (request.method === "PUT") sendProblem(door, request, reply, NOT_RANDOM);
      else sendProblem(door, request, reply, problem("not-found"));
    },
  });
}

interface Use<Params> {
  readonly method: HTTPMethods[];
  readonly scope: Scope;
  handle(request: FastifyRequest<{ Params: Params }>, reply: FastifyReply): Promise<void>;
}

/** One URL and all of its methods, those that it does not take included. */
function addResource<Params>(
  instance: FastifyInstance,
  door: Door,
  url: string,
  uses: readonly Use<Params>[],
): void {
  for (const { method, scope, handle } of uses) {
    instance.route({
      method,
      url,
      onRequest: guard(door, scope),
      handler: answerWith(handle) as RouteHandlerMethod,
    });
  }
  addMethodGuard(
    instance,
    door,
    url,
    uses.flatMap(({ method }) => method),
  );
}

// Fastify would look at what a handler returns, and a reply that is returned is awaited again at every level.
function answerWith<Params>(handle: Use<Params>["handle"]) {
  return (request: FastifyRequest<{ Params: Params }>, reply: FastifyReply): void => {
    handle(request, reply).catch((error: unknown) => {
      reply.send(error instanceof Error ? error : new Error(String(error)));
    });
  };
}

/** Lets those in who are known and have the scope: 401 and 403 come before anything else is looked at. */
function guard(door: Door, scope: Scope): onRequestHookHandler {
  const judge = (
    request: FastifyRequest,
    reply: FastifyReply,
    found: Identity | Denied,
    done: () => void,
  ) => {
    if ("denied" in found) {
      const fields = { "cache-control": PRIVATE, "www-authenticate": wwwAuthenticate(found) };
      sendProblem(door, request, reply, problem("unauthenticated", found.denied), fields);
    } else if (!found.scopes.has(scope)) {
      const fields = { "cache-control": PRIVATE, "www-authenticate": wwwAuthenticate({ lacks: scope }) };
      sendProblem(door, request, reply, problem("forbidden", `This needs the scope "${scope}".`), fields);
    } else {
      request.coatcheckIdentity = found;
      done();
    }
  };
  return (request, reply, done) => {
    const found = door.access(request.raw);
    if (!(found instanceof Promise)) return judge(request, reply, found, done);
    found.then(
      (identity) => judge(request, reply, identity, done),
      (error: unknown) => {
        door.log.warn({ err: error }, "It could not be found out who asks.");
        sendProblem(door, request, reply, problem("unavailable"));
      },
    );
  };
}
