// Slow operations in a Hono app, and so in every host that speaks `fetch`.
//
//   node --import ./scripts/typescript.js examples/mounting/hono.ts

import { once } from "node:events";
import type { Server } from "node:http";
import { fileURLToPath } from "node:url";
import { serve } from "@hono/node-server";
import { coatcheck } from "coatcheck";
import { Hono } from "hono";
import { compress, gzip } from "./gzip.ts";
import { signedIn } from "./users.ts";

export async function start({ port = 3000, store = "sqlite:./data/mounting.db" } = {}) {
  const url = `http://127.0.0.1:${port}`;
  const desk = coatcheck({
    operations: [gzip],
    store,
    // A `Request` does not tell which address it came in on.
    publicUrl: `${url}/slow`,
    caller: ({ headers }) => {
      const user = signedIn(headers.authorization);
      return user === null ? null : { owner: user.name };
    },
  });
  desk.handle(gzip, compress);

  const app = new Hono();
  app.all("/slow/*", ({ req }) => desk.fetch(req.raw));
  app.get("/", (context) => context.text("The app's own page"));

  const server = serve({ fetch: app.fetch, port, hostname: "127.0.0.1" }) as Server;
  await once(server, "listening");
  return {
    url,
    async close() {
      const closed = once(server, "close");
      server.close();
      await desk.close();
      // Who is still connected by now only listens, or downloads.
      server.closeAllConnections();
      await closed;
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url, close } = await start({ port: Number(process.env.PORT ?? 3000) });
  console.log(`POST ${url}/slow/operations/gzip`);
  process.once("SIGINT", close).once("SIGTERM", close);
}
