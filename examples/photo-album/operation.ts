// `photo-album`: pictures in; thumbnails, a contact sheet and a zip of them all out.

import { defineOperation, RELATIVE_PATH } from "coatcheck";
import { z } from "zod";

export const photoAlbum = defineOperation({
  name: "photo-album",
  title: "Make a photo album",
  description:
    "Takes a zip of pictures as the request's file, or the name of a folder in the server's media folder, and gives " +
    "back a contact sheet and a zip with a thumbnail of each. Pictures that can't be read are listed, not fatal.",
  input: z.object({
    folder: z
      .string()
      .max(1024)
      .regex(RELATIVE_PATH, 'must be a relative path like "holiday/rome", without ".."')
      .optional()
      .describe("A folder in the server's media folder; leave it out where a zip is sent."),
    title: z.string().max(80).default("Photo album").describe("Stands above the contact sheet."),
    thumbnail: z.int().min(32).max(1024).default(320).describe("Longest side of a thumbnail, in pixels."),
  }),
  output: z.object({
    /** How many pictures the album has. */
    pictures: z.int().min(1),
    skippedPictures: z.int().min(0),
    /** What was skipped, the first 200 of them. */
    skipped: z.array(z.object({ name: z.string(), reason: z.string() })),
    /** Names of the files beside this result: the contact sheet's pages, then the zip. */
    files: z.array(z.string()),
  }),
  file: {
    types: ["application/zip", "application/x-zip-compressed", "application/octet-stream"],
    maxBytes: 2 * 1024 ** 3,
  },
});
