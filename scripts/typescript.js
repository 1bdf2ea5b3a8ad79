// Lets Node run the TypeScript of this checkout, in threads and child processes too:
// `node --import ./scripts/typescript.js file.ts`. (tsx's own preload leaves worker threads out on Node 20.)
import { register } from "tsx/esm/api";

register();
