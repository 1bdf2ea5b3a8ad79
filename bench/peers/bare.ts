// The peer that no server can beat: plain node:http that parses the body and answers from memory. What another
// server reaches of its figures is what that server's validation, keys, quotas and durability leave of the machine.
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { announce } from "./announce.ts";

// A status document of the usual size, encoded once.
const document = Buffer.from(
  JSON.stringify({
    id: "kq3v9Zr0cW8mT5yLxB2dNa",
    operation: "empty",
    status: "processing",
    progress: 45,
    message: "Transcoding video…",
    position: null,
    attempt: 1,
    maxAttempts: 3,
    createdAt: "2026-01-01T00:00:00.000Z",
    dueAt: "2026-01-01T00:00:00.000Z",
    startedAt: "2026-01-01T00:00:01.000Z",
    updatedAt: "2026-01-01T00:00:02.000Z",
    finishedAt: null,
    expiresAt: "2026-01-02T00:00:00.000Z",
    estimatedCompletion: "2026-01-01T00:00:05.000Z",
    waitingFor: null,
    statusUrl: "http://127.0.0.1:2020/jobs/kq3v9Zr0cW8mT5yLxB2dNa",
    eventsUrl: "http://127.0.0.1:2020/jobs/kq3v9Zr0cW8mT5yLxB2dNa/events",
    resultUrl: "http://127.0.0.1:2020/jobs/kq3v9Zr0cW8mT5yLxB2dNa/result",
    error: null,
  }),
);

const server = createServer((request, response) => {
  if (request.method === "POST") readBody(request, (body) => accept(body, response));
  else {
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": document.length });
    response.end(document);
  }
});
announce(server);

function readBody(request: IncomingMessage, then: (body: string) => void): void {
  let body = "";
  request.setEncoding("utf8");
  request.on("data", (chunk: string) => {
    body += chunk;
  });
  request.on("end", () => then(body));
}

function accept(body: string, response: ServerResponse): void {
  const input = JSON.parse(body) as { readonly text?: unknown };
  if (typeof input.text !== "string") {
    response.writeHead(422).end();
    return;
  }
  const id = randomUUID();
  const answer = `{"id":"${id}","status":"queued"}`;
  response.writeHead(202, {
    "Content-Type": "application/json",
    "Content-Length": answer.length,
    Location: `/jobs/${id}`,
    "Retry-After": "1",
  });
  response.end(answer);
}
