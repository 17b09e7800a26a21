// Copies the contract into the package: a package cannot reach outside its own folder once it is installed.
import { cpSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const source = join(here, "..", "..", "proto", "tastemaker", "v1");
const target = join(here, "protos", "tastemaker", "v1");

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
for (const name of readdirSync(source)) {
  if (name.endsWith(".proto") || name.endsWith(".json")) cpSync(join(source, name), join(target, name));
}
