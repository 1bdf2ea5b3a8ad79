// What the programs of this folder have to offer: `gzip`, which takes a file or a text and gives it back compressed.

import { createGzip } from "node:zlib";
import { defineOperation, Failure, type Handler, type InputOf, type StoredFile } from "coatcheck";
import { z } from "zod";

export const gzip = defineOperation({
  name: "gzip",
  title: "Compress a file",
  input: z.object({
    text: z.string().max(100_000).optional().describe("What to compress; leave it out where a file is sent."),
    level: z.int().min(1).max(9).default(6).describe("1 is the fastest, 9 the smallest."),
  }),
  file: { types: ["*/*"], maxBytes: 1024 ** 3 },
});

export const compress: Handler<InputOf<typeof gzip>, StoredFile> = async ({ text, level }, attempt) => {
  const { upload } = attempt;
  const packed = createGzip({ level });
  if (upload === undefined) {
    if (text === undefined)
      throw new Failure("Send a text or a file.", { status: 422, type: "nothing-sent" });
    packed.end(text);
    return attempt.save("text.gz", { stream: packed }, "application/gzip");
  }
  const file = await upload.stream();
  let seen = 0;
  file.on("data", (chunk: Buffer) => {
    seen += chunk.length;
    attempt.progress((100 * seen) / upload.bytes, "Compressing…");
  });
  file.on("error", (error) => packed.destroy(error)).pipe(packed);
  return attempt.save(`${upload.name}.gz`, { stream: packed }, "application/gzip");
};
