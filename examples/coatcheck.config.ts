// The server of `npm start`: every example operation, on SQLite in ./data.

import { defineConfig } from "coatcheck";
import { importCsv } from "./import-csv/operation.ts";
import makeAlbum from "./photo-album/handler.ts";
import { photoAlbum } from "./photo-album/operation.ts";
import { rehearsal } from "./rehearsal/operation.ts";
import render from "./render-report/handler.ts";
import { renderReport } from "./render-report/operation.ts";
import transcode from "./transcode-video/handler.ts";
import { transcodeVideo } from "./transcode-video/operation.ts";

export default defineConfig({
  operations: [
    // ffmpeg is a program of its own: there is little to do in this thread.
    { operation: transcodeVideo, handler: transcode, concurrency: 2 },
    // DuckDB and sharp work in threads of their own.
    { operation: renderReport, handler: render, concurrency: 2 },
    { operation: photoAlbum, handler: makeAlbum, concurrency: 1 },
    // Parsing a million rows is work for a processor: in a thread of its own it delays nobody.
    { operation: importCsv, module: new URL("./import-csv/handler.ts", import.meta.url), isolate: "thread" },
    // It crashes on request, so it gets a process of its own.
    {
      operation: rehearsal,
      module: new URL("./rehearsal/handler.ts", import.meta.url),
      isolate: "process",
      concurrency: 4,
    },
  ],
});
