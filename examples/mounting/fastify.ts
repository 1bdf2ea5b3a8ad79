// Slow operations in a Fastify app: one plugin, below a prefix, behind the app's own sign-in.
//
//   node --import ./scripts/typescript.js examples/mounting/fastify.ts

import { fileURLToPath } from "node:url";
import { coatcheck } from "coatcheck";
import Fastify, { type FastifyRequest } from "fastify";
import { compress, gzip } from "./gzip.ts";
import { signedIn, type User } from "./users.ts";

export async function start({ port = 0, store = "sqlite:./data/mounting.db" } = {}) {
  // Closing would wait for connections that browsers only keep in stock.
  const app = Fastify({ forceCloseConnections: true });

  // The app's own sign-in, and what it has found out.
  const users = new WeakMap<FastifyRequest["raw"], User>();
  app.addHook("onRequest", async (request) => {
    const user = signedIn(request.headers.authorization);
    if (user !== null) users.set(request.raw, user);
  });
  app.get("/", async () => "The app's own page");

  const desk = coatcheck({
    operations: [gzip],
    store,
    caller: (request) => {
      const user = users.get(request);
      return user === undefined ? null : { owner: user.name };
    },
  });
  desk.handle(gzip, compress);

  await app.register(desk.fastify, { prefix: "/slow" });
  app.addHook("onClose", () => desk.close());

  const url = await app.listen({ port });
  return { url, close: () => app.close() };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url, close } = await start({ port: Number(process.env.PORT ?? 3000) });
  console.log(`POST ${url}/slow/operations/gzip`);
  process.once("SIGINT", close).once("SIGTERM", close);
}
