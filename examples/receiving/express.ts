// Webhooks of Coatcheck in an Express app.
//
//   WEBHOOK_SECRETS=whsec_… node --import ./scripts/typescript.js examples/receiving/express.ts

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { rememberIds, verifyWebhook, type WebhookEvent, WebhookRefused } from "coatcheck/webhooks";
import express from "express";
import { handle, secretsOf } from "./desk.ts";

export async function start({ port = 0, secrets }: { port?: number; secrets: readonly string[] }) {
  const seen = rememberIds();
  const app = express();

  // The raw body, above the app's own parsers: parsed and printed again it has another signature.
  app.post("/webhooks", express.raw({ type: "*/*", limit: "1mb" }), async (request, response) => {
    let event: WebhookEvent;
    try {
      event = await verifyWebhook(request.body ?? "", request.headers, secrets, { seen });
    } catch (error) {
      if (!(error instanceof WebhookRefused)) throw error;
      response.status(error.status).type("text").send(error.message);
      return;
    }
    try {
      await handle(event);
      response.sendStatus(204);
    } catch {
      // It comes again, and is not to be taken for a replay then.
      await seen.delete(event.id);
      response.sendStatus(500);
    }
  });
  app.use(express.json());

  const server = app.listen(port, "127.0.0.1");
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
