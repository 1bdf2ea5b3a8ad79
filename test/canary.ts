// A listener that nobody is to reach: it counts the connections that come, and tells at which address they came.
import { EventEmitter, once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import ipaddr from "ipaddr.js";

export interface Canary {
  readonly port: number;
  /** The addresses of this machine that were connected to, in order, once all connections opened before are counted. */
  reached(): Promise<readonly string[]>;
  /** Forgets what was counted so far. */
  forget(): Promise<void>;
  close(): Promise<void>;
}

/** Listens on every address of this machine. Whoever connects gets an honest answer, as an internal service would give. */
export async function startCanary(): Promise<Canary> {
  const sockets = new Set<Socket>();
  const seen = new Map<number, string>();
  const told = new EventEmitter();
  const server = createServer((socket) => {
    seen.set(socket.remotePort as number, ipaddr.process(socket.localAddress as string).toString());
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => {});
    socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"));
    told.emit("seen");
  });
  // Not every machine has IPv6.
  const listening = once(server, "listening");
  server.listen(0, "::").once("error", () => server.listen(0, "0.0.0.0"));
  await listening.catch(() => once(server, "listening"));
  const { port } = server.address() as AddressInfo;

  const reached = async () => {
    // Connections are accepted in their order, so that when one of our own is there all before it are.
    const own = connect(port, "127.0.0.1");
    await once(own, "connect");
    while (!seen.has(own.localPort as number)) await once(told, "seen");
    seen.delete(own.localPort as number);
    own.destroy();
    return [...seen.values()];
  };
  return {
    port,
    reached,
    async forget() {
      await reached();
      seen.clear();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
