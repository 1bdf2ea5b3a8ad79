// How a peer tells the bench that it listens, and where.
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";

/** Listens on a free port of the loopback interface and prints `ready <url>`. */
export function announce(server: Server): void {
  server.listen(0, "127.0.0.1", () => {
    console.log(`ready http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  });
}
