// Reads an AsyncAPI document and prints what the official parser finds wrong, as JSON.
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(await readFile(process.argv[2], "utf8"));
const found = diagnostics.map(({ severity, code, message, path }) => ({
  severity,
  code,
  message,
  path: path.join("."),
}));
const channels = document?.channels().all().map((channel) => channel.address()) ?? null;
console.log(JSON.stringify({ channels, found }));
