// The control of the controls: the same composition with nothing broken, which the checker must pass.

import { serveWith } from "./compose.ts";

await serveWith((store) => store);
