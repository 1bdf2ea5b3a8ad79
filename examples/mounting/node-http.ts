// Slow operations in a plain `node:http` server, beside what it answers itself.
//
//   node --import ./scripts/typescript.js examples/mounting/node-http.ts

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { coatcheck } from "coatcheck";
import { compress, gzip } from "./gzip.ts";
import { signedIn } from "./users.ts";

export async function start({ port = 0, store = "sqlite:./data/mounting.db" } = {}) {
  const desk = coatcheck({
    operations: [gzip],
    store,
    caller: ({ headers }) => {
      const user = signedIn(headers.authorization);
      return user === null ? null : { owner: user.name };
    },
  });
  desk.handle(gzip, compress);

  const slow = desk.middleware();
  const server = createServer((request, response) => {
    // What the desk has no route for comes back to the app.
    slow(request, response, (error) => {
      if (error !== undefined) response.writeHead(500).end();
      else if (request.url === "/") response.end("The app's own page");
      else response.writeHead(404).end("The app has no such page");
    });
  });

  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
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
  console.log(`POST ${url}/operations/gzip`);
  process.once("SIGINT", close).once("SIGTERM", close);
}
