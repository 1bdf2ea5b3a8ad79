// Has an app listen, and tells where it is reached.

import type { AddressInfo } from "node:net";
import type { FastifyInstance } from "fastify";

/** Resolves with the URL at which this machine reaches the app. */
export async function listen(app: FastifyInstance, host: string, port: number): Promise<string> {
  await app.listen({ host, port });
  const address = app.server.address() as AddressInfo;
  const name = address.address === "::" || address.address === "0.0.0.0" ? "127.0.0.1" : address.address;
  return `http://${name.includes(":") ? `[${name}]` : name}:${address.port}`;
}
