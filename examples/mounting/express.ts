// Slow operations in an Express app: beside its own routes, and with its own sign-in.
//
//   node --import ./scripts/typescript.js examples/mounting/express.ts

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { coatcheck } from "coatcheck";
import express, { type Request } from "express";
import { compress, gzip } from "./gzip.ts";
import { signedIn, type User } from "./users.ts";

interface UserRequest extends Request {
  user?: User | null;
}

export async function start({ port = 0, store = "sqlite:./data/mounting.db", jsonFirst = false } = {}) {
  const desk = coatcheck({
    operations: [gzip],
    store,
    caller: (request) => {
      const { user } = request as UserRequest;
      return user ? { owner: user.name } : null;
    },
  });
  desk.handle(gzip, compress);

  const app = express();
  app.use((request: UserRequest, _response, next) => {
    request.user = signedIn(request.get("authorization"));
    next();
  });
  // Either order will do. Below the parsers, theirs are the limits of a JSON body.
  if (jsonFirst) app.use(express.json());
  app.use("/slow", desk.middleware());
  if (!jsonFirst) app.use(express.json());

  app.get("/", (_request, response) => {
    response.send("The app's own page");
  });
  app.post("/echo", (request, response) => {
    response.json(request.body);
  });

  const server = app.listen(port, "127.0.0.1");
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
  console.log(`POST ${url}/slow/operations/gzip`);
  process.once("SIGINT", close).once("SIGTERM", close);
}
