// The standalone server's Fastify: every socket bounded, every refusal a problem document, also of what no route ever sees.

import { METHODS, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { type ProblemDocument, type ProblemName, problem, publishProblem } from "../core/problem.ts";
import { PRIVATE, PROBLEM_TYPE } from "../protocol/answer.ts";
import { awaitContinue } from "./body.ts";
import type { HttpLog } from "./door.ts";
import { HTTP_LIMITS, SERVER_LIMITS, type ServerLimits } from "./limits.ts";
import { errorHandler } from "./problems.ts";
import { sendProblem } from "./reply.ts";

export interface AppOptions {
  /** As in `HttpOptions`. */
  readonly publicUrl: () => string;
  readonly log: HttpLog;
  readonly limits?: Partial<ServerLimits>;
  /** Asked about a path that is no route: true where it was taken by the app around the mount. Default: 404. */
  readonly unknown?: (request: FastifyRequest, reply: FastifyReply) => boolean;
}

/**
 * Makes a Fastify to register the doors in. No body is parsed by it: a plugin that wants one brings its own parsers
 * (`removeAllContentTypeParsers` first).
 */
export function createApp(options: AppOptions): FastifyInstance {
  const limits = { ...SERVER_LIMITS, ...options.limits };
  const speaker = { ...options, limits: HTTP_LIMITS };
  const app = Fastify({
    logger: false,
    bodyLimit: 1,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.keepAliveMs,
    return503OnClosing: false,
    exposeHeadRoutes: false,
    http: {
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headersMs,
      connectionsCheckingInterval: limits.checkEveryMs,
      // Node's own refusal has no body; `refuseRequest` says it as a problem.
      requireHostHeader: false,
      insecureHTTPParser: false,
    },
    clientErrorHandler: (error, socket) => refuseSocket(error, socket, options.publicUrl()),
    frameworkErrors: (_error, request, reply) =>
      sendProblem(speaker, request as FastifyRequest, reply as FastifyReply, problem("invalid-request")),
  });
  app.server.maxConnections = limits.connections;
  // The parser would drop what is above it in silence, so it counts further than we let through.
  app.server.maxHeadersCount = limits.headerFields + 1;
  app.server.on("checkContinue", (request, response) => {
    awaitContinue(request);
    app.routing(request, response);
  });
  app.server.on("checkExpectation", (request, response) => app.routing(request, response));
  for (const method of METHODS) {
    if (method !== "CONNECT" && !app.supportedMethods.includes(method))
      app.addHttpMethod(method, { hasBody: true });
  }
  let closing = false;
  let reaping: NodeJS.Timeout | undefined;
  const sockets = new Set<Socket>();
  app.server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  app.addHook("preClose", (done) => {
    closing = true;
    // Node ends the connections that are idle when a server closes, and keeps those that become idle after, and those
    // that never brought a byte: browsers connect ahead of need.
    reaping = setInterval(() => {
      app.server.closeIdleConnections();
      for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
    }, REAP_EVERY_MS);
    done();
  });
  app.addHook("onClose", (_app, done) => {
    clearInterval(reaping);
    done();
  });
  app.addHook("onRequest", (request, reply, done) => {
    const refused = refuseRequest(request, limits, closing);
    if (refused === null) return done();
    sendProblem(speaker, request, reply, refused, { "cache-control": PRIVATE, connection: "close" });
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));
  app.setErrorHandler(errorHandler(speaker));
  app.setNotFoundHandler((request, reply) => {
    if (options.unknown?.(request, reply) !== true)
      sendProblem(speaker, request, reply, problem("not-found"));
  });
  return app;
}

const REAP_EVERY_MS = 20;

/** What no `uri-host [ ":" port ]` has (RFC 3986 §3.2.2). */
const NO_HOST = /[^\w.~%!$&'()*+,;=:[\]-]/;

/** What is wrong with a request before its route is looked at; null where nothing is. */
function refuseRequest(
  { raw }: FastifyRequest,
  limits: ServerLimits,
  closing: boolean,
): ProblemDocument | null {
  const { rawHeaders } = raw;
  if (raw.httpVersionMajor !== 1) {
    return raw.httpVersionMajor === 0 ? problem("invalid-request") : problem("version-not-supported");
  }
  if (rawHeaders.length > limits.headerFields * 2) return problem("headers-too-large");
  let hosts = 0;
  let types = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string;
    if (name.length === 4) {
      if (name.toLowerCase() === "host") hosts += 1;
    } else if (name.length === 12 && name.toLowerCase() === "content-type") types += 1;
  }
  const { host, "transfer-encoding": coding } = raw.headers;
  // RFC 9112 §3.2: more than one Host, an invalid one, or none in HTTP/1.1, MUST be answered 400.
  if (
    hosts > 1 ||
    (hosts === 0 && raw.httpVersionMinor === 1) ||
    (host !== undefined && NO_HOST.test(host))
  ) {
    return problem("invalid-request", "The request must have one Host header field, and a valid one.");
  }
  // Node would take the first, and something in front of us perhaps another one.
  if (types > 1) return problem("invalid-request", "The request has more than one Content-Type.");
  // Node undoes chunks and no other coding (RFC 9112 §6.1), and HTTP/1.0 has none at all.
  if (coding !== undefined && (raw.httpVersionMinor === 0 || coding.toLowerCase() !== "chunked")) {
    return problem("invalid-request", "The only transfer coding that this takes is chunked.");
  }
  return closing ? problem("unavailable", "The server is shutting down.") : null;
}

/** Answers on a socket what could not be read as a request, and closes it. */
function refuseSocket(error: Error & { code?: string; reason?: string }, socket: Duplex, base: string): void {
  const { _httpMessage: pending } = socket as Duplex & {
    _httpMessage?: { headersSent: boolean; req?: { complete: boolean } };
  };
  // An answer is on its way, or due to a request that came whole: a refusal must not be taken for it.
  const isTaken =
    pending !== undefined && pending !== null && (pending.headersSent || pending.req?.complete === true);
  if (error.code === "ECONNRESET" || !socket.writable || isTaken) {
    socket.destroy();
    return;
  }
  // Node's parser says so of a line that ends in a bare LF too.
  const isLineEnd = error.reason?.startsWith("Expected CRLF") === true;
  const document = problem((isLineEnd ? undefined : REFUSALS[error.code ?? ""]) ?? "invalid-request");
  const body = JSON.stringify(publishProblem(document, base));
  socket.end(
    `HTTP/1.1 ${document.status} ${STATUS_CODES[document.status]}\r\nConnection: close\r\nCache-Control: ${PRIVATE}\r\n` +
      `Content-Type: ${PROBLEM_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

const REFUSALS: Readonly<Record<string, ProblemName>> = {
  HPE_INVALID_VERSION: "version-not-supported",
  HPE_HEADER_OVERFLOW: "headers-too-large",
  ERR_HTTP_REQUEST_TIMEOUT: "request-timeout",
};
