// The proxy does to connections what the crash tests say that it does.
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openProxy, type ProxyOptions, type TcpProxy } from "./proxy.ts";

let server: Server;
/** What has reached the server. */
let heard: string[];
let proxy: TcpProxy | null;
const sockets = new Set<Socket>();

beforeEach(async () => {
  heard = [];
  proxy = null;
  // It answers each piece in capitals.
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      heard.push(bytes.toString());
      socket.write(bytes.toString().toUpperCase());
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await proxy?.close();
  server.close();
});

test("what is said goes through, both ways", async () => {
  const client = await join();
  client.write("a");
  expect(await next(client)).toBe("A");
});

test("a cut ends what is open, and what comes, until it is mended", async () => {
  const client = await join();
  client.write("a");
  await next(client);
  proxy!.cut();
  await closed(client);
  const second = connect(proxy!.port, "127.0.0.1").on("error", () => {});
  await closed(second);
  proxy!.mend();
  const third = await reach();
  third.write("c");
  expect(await next(third)).toBe("C");
});

test("a delay makes both ways longer, and keeps the order", async () => {
  const client = await join();
  proxy!.delay(40);
  const from = performance.now();
  client.write("a");
  expect(await next(client)).toBe("A");
  expect(performance.now() - from).toBeGreaterThanOrEqual(79);
});

test("a half-open link takes bytes and gives none, and stays so after others are mended", async () => {
  const client = await join();
  client.write("a");
  await next(client);
  proxy!.hush();
  client.write("b");
  proxy!.mend();
  const second = await reach();
  second.write("c");
  expect(await next(second)).toBe("C");
  expect(heard).toEqual(["a", "c"]);
  expect(client.readyState).toBe("open");
  expect(client.read()).toBeNull();
});

test("messages are heard whole, however they are cut into pieces", async () => {
  const messages: string[] = [];
  const client = await join({
    measure: (bytes) => bytes.indexOf(".") + 1,
    hear(message) {
      messages.push(message.toString());
      return "pass";
    },
  });
  client.write("one.tw");
  await next(client);
  client.write("o.three.");
  expect(await next(client)).toBe("TWO.THREE.");
  expect(messages).toEqual(["one.", "two.", "three."]);
});

test("a message that is lost never arrives, and its link ends", async () => {
  const client = await join({ hear: () => "lose" });
  client.write("a");
  await closed(client);
  expect(heard).toEqual([]);
});

test("a reply that is lost is to what has arrived, and its link ends", async () => {
  const client = await join({ hear: () => "lose reply" });
  client.write("a");
  await closed(client);
  expect(heard).toEqual(["a"]);
  expect(client.bytesRead).toBe(0);
});

async function join(options: Partial<ProxyOptions> = {}): Promise<Socket> {
  proxy = await openProxy({ port: (server.address() as AddressInfo).port, ...options });
  return reach();
}

async function reach(): Promise<Socket> {
  const client = connect(proxy!.port, "127.0.0.1");
  client.on("error", () => {});
  sockets.add(client);
  await once(client, "connect");
  return client;
}

// `once` would reject with the reset that is expected here.
function closed(client: Socket): Promise<void> {
  return new Promise((resolve) => client.once("close", () => resolve()));
}

async function next(client: Socket): Promise<string> {
  const [bytes] = (await once(client, "data")) as [Buffer];
  return bytes.toString();
}
