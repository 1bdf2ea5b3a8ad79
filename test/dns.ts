// A DNS server of our own on the loopback interface, whose answers a test decides, question by question.
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";
import ipaddr from "ipaddr.js";

/** One question. `nth` counts the questions for this name and kind, from 1. */
export interface Question {
  readonly name: string;
  readonly kind: "A" | "AAAA";
  readonly nth: number;
}

/** The addresses of the kind that was asked for (others are left out), no such name, or no answer at all. */
export type DnsReply = readonly string[] | "unknown" | "silence";

export interface DnsServer {
  /** Asks this server and no other. */
  readonly resolver: Resolver;
  readonly questions: readonly Question[];
  close(): Promise<void>;
}

/** Starts a server that answers by `reply`, with a time to live of 0. */
export async function startDns(reply: (question: Question) => DnsReply): Promise<DnsServer> {
  const socket = createSocket("udp4");
  const questions: Question[] = [];
  const counts = new Map<string, number>();
  socket.on("message", (message, from) => {
    const { name, kind, end } = readQuestion(message);
    const nth = (counts.get(`${kind} ${name}`) ?? 0) + 1;
    counts.set(`${kind} ${name}`, nth);
    questions.push({ name, kind, nth });
    const answer = reply({ name, kind, nth });
    if (answer === "silence") return;
    socket.send(encode(message, end, kind, answer), from.port, from.address);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const resolver = new Resolver({ timeout: 900, tries: 2 });
  resolver.setServers([`127.0.0.1:${socket.address().port}`]);
  return {
    resolver,
    questions,
    async close() {
      resolver.cancel();
      socket.close();
      await once(socket, "close");
    },
  };
}

// RFC 1035 §4.1: twelve bytes of header, then the name in labels, its type and its class.
const HEADER_BYTES = 12;
const TYPES = { A: 1, AAAA: 28 } as const;

function readQuestion(message: Buffer) {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = message[at] as number; length > 0; length = message[at] as number) {
    labels.push(message.toString("latin1", at + 1, at + 1 + length));
    at += length + 1;
  }
  const kind: Question["kind"] = message.readUInt16BE(at + 1) === TYPES.AAAA ? "AAAA" : "A";
  return { name: labels.join(".").toLowerCase(), kind, end: at + 5 };
}

function encode(message: Buffer, end: number, kind: Question["kind"], answer: readonly string[] | "unknown") {
  const wanted = kind === "A" ? "ipv4" : "ipv6";
  const addresses =
    answer === "unknown"
      ? []
      : answer.map((text) => ipaddr.parse(text)).filter((one) => one.kind() === wanted);
  const header = Buffer.from(message.subarray(0, HEADER_BYTES));
  // An answer, recursion available; 3 is "no such name".
  header.writeUInt16BE(0x8180 | (answer === "unknown" ? 3 : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(addresses.length, 6);
  header.writeUInt32BE(0, 8);
  const records = addresses.map((address) => {
    const data = Buffer.from(address.toByteArray());
    const record = Buffer.alloc(12);
    // The name is the question's.
    record.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
    record.writeUInt16BE(TYPES[kind], 2);
    record.writeUInt16BE(1, 4);
    record.writeUInt16BE(data.length, 10);
    return Buffer.concat([record, data]);
  });
  return Buffer.concat([header, message.subarray(HEADER_BYTES, end), ...records]);
}
