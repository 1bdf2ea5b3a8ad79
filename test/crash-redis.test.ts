import { FLEET } from "./crash/house.ts";
import { crashSuite } from "./crash/suite.ts";

crashSuite({ title: "four processes on Redis", store: "redis", roles: FLEET, cycles: 50 });
