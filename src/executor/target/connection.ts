// One connection to one address that was judged: opened, compared with what was asked for, and made safe by TLS.

import { connect, isIP, type Socket } from "node:net";
import { checkServerIdentity, type TLSSocket, connect as upgrade } from "node:tls";
import { isSameAddress } from "./address.ts";

export interface Destination {
  /** An IP address that may be called. */
  readonly address: string;
  readonly port: number;
  readonly isTls: boolean;
  /** Whose certificate it has to be: the host of the URL. */
  readonly host: string;
  /** Certificates that count beside those that Node trusts; null for none. */
  readonly ca: string | null;
}

/** Another address answered than was called. Nothing was sent to it. */
export class WrongPeer extends Error {
  override readonly name = "WrongPeer";
}

/** The other side has no certificate of the host's that can be trusted, or speaks no TLS. */
export class Untrusted extends Error {
  override readonly name = "Untrusted";
}

/** Opens a TCP connection. Rejects with the socket's error, or with a `WrongPeer`. */
export async function openSocket({ address, port }: Destination, signal: AbortSignal): Promise<Socket> {
  signal.throwIfAborted();
  const socket = connect({ host: address, port, lookup: refuseLookup, autoSelectFamily: false });
  // Whoever waits for the socket hears of its errors; between two who wait it must not end the process.
  socket.on("error", () => {});
  await arrived(socket, "connect", signal);
  // What is pinned is what was judged; this tells if ever it was not.
  if (isSameAddress(socket.remoteAddress ?? "", address)) return socket;
  socket.destroy();
  throw new WrongPeer("Another address answered than was called.");
}

/** Puts TLS on a connection, for the host's name. Rejects with an `Untrusted`. */
export async function secure(
  socket: Socket,
  destination: Destination,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const { host, ca } = destination;
  const secured = upgrade({
    socket,
    // RFC 6066 §3: no address may be sent as a server's name.
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === null ? {} : { ca }),
    checkServerIdentity: (_name, certificate) => checkServerIdentity(host, certificate),
    ALPNProtocols: ["http/1.1"],
    minVersion: "TLSv1.2",
    // Said, because NODE_TLS_REJECT_UNAUTHORIZED changes the default.
    rejectUnauthorized: true,
  });
  secured.on("error", () => {});
  try {
    await arrived(secured, "secureConnect", signal);
  } catch (error) {
    socket.destroy();
    if (signal.aborted) throw error;
    throw new Untrusted("The other side has no certificate that can be trusted.", { cause: error });
  }
  return secured;
}

function arrived(socket: Socket, event: "connect" | "secureConnect", signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = withResolvers();
  const onAbort = () => reject(signal.reason);
  const onClose = () => reject(new Error("The connection was closed."));
  signal.addEventListener("abort", onAbort, { once: true });
  socket.once(event, resolve).once("error", reject).once("close", onClose);
  return promise
    .catch((error) => {
      socket.destroy();
      throw error;
    })
    .finally(() => {
      signal.removeEventListener("abort", onAbort);
      socket.off(event, resolve).off("error", reject).off("close", onClose);
    });
}

function refuseLookup(): never {
  throw new Error("A connection is opened to an address, never to a name.");
}

function withResolvers() {
  let resolve!: () => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
