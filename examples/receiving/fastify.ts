// Webhooks of Coatcheck in a Fastify app.
//
//   WEBHOOK_SECRETS=whsec_… node --import ./scripts/typescript.js examples/receiving/fastify.ts

import { fileURLToPath } from "node:url";
import { rememberIds, verifyWebhook, type WebhookEvent, WebhookRefused } from "coatcheck/webhooks";
import Fastify from "fastify";
import { handle, secretsOf } from "./desk.ts";

export async function start({ port = 0, secrets }: { port?: number; secrets: readonly string[] }) {
  const seen = rememberIds();
  // Closing would wait for connections that the sender only keeps in stock.
  const app = Fastify({ forceCloseConnections: "idle" });

  // In a plugin of its own: only here bodies stay raw. Parsed and printed again they have another signature.
  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer", bodyLimit: 1_048_576 }, (_request, body, done) =>
      done(null, body),
    );
    scope.post("/webhooks", async (request, reply) => {
      let event: WebhookEvent;
      try {
        event = await verifyWebhook((request.body as Buffer | undefined) ?? "", request.headers, secrets, {
          seen,
        });
      } catch (error) {
        if (!(error instanceof WebhookRefused)) throw error;
        return reply.code(error.status).type("text/plain").send(error.message);
      }
      try {
        await handle(event);
        return reply.code(204).send();
      } catch {
        // It comes again, and is not to be taken for a replay then.
        await seen.delete(event.id);
        return reply.code(500).send();
      }
    });
  });

  const url = await app.listen({ port });
  return { url: `${url}/webhooks`, close: () => app.close() };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url, close } = await start({
    port: Number(process.env.PORT ?? 3000),
    secrets: secretsOf(process.env),
  });
  console.log(`POST ${url}`);
  process.once("SIGINT", close).once("SIGTERM", close);
}
