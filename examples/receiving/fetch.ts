// Webhooks of Coatcheck in every host that speaks `fetch`: Hono, SvelteKit, Next, Bun, Deno, workers. Here Hono serves it.
//
//   WEBHOOK_SECRETS=whsec_… node --import ./scripts/typescript.js examples/receiving/fetch.ts

import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { serve } from "@hono/node-server";
import { rememberIds, verifyWebhook, type WebhookEvent, WebhookRefused } from "coatcheck/webhooks";
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { handle, secretsOf } from "./desk.ts";

/** All that is needed, with nothing of Node. */
export function receiver(secrets: readonly string[]): (request: Request) => Promise<Response> {
  const seen = rememberIds();
  return async (request) => {
    let event: WebhookEvent;
    try {
      event = await verifyWebhook(await request.arrayBuffer(), request.headers, secrets, { seen });
    } catch (error) {
      if (!(error instanceof WebhookRefused)) throw error;
      return new Response(error.status === 204 ? null : error.message, { status: error.status });
    }
    try {
      await handle(event);
      return new Response(null, { status: 204 });
    } catch {
      // It comes again, and is not to be taken for a replay then.
      await seen.delete(event.id);
      return new Response(null, { status: 500 });
    }
  };
}

export async function start({ port = 0, secrets }: { port?: number; secrets: readonly string[] }) {
  const receive = receiver(secrets);
  const app = new Hono();
  app.post("/webhooks", bodyLimit({ maxSize: 1_048_576 }), ({ req }) => receive(req.raw));
  const server = serve({ fetch: app.fetch, port, hostname: "127.0.0.1" }) as Server;
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/webhooks`,
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeIdleConnections();
      await closed;
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url, close } = await start({
    port: Number(process.env.PORT ?? 3000),
    secrets: secretsOf(process.env),
  });
  console.log(`POST ${url}`);
  process.once("SIGINT", close).once("SIGTERM", close);
}
