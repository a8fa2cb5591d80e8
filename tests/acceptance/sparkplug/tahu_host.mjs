// A host with Eclipse Tahu's sparkplug-payload: prints what it decodes, one JSON object a line.
// Reads {"do": "write", "device", "name", "type", "value"} and {"do": "rebirth"} from its input.
import mqtt from "mqtt";
import readline from "node:readline";
import sparkplug from "sparkplug-payload";

const [port, group, node, hostId] = process.argv.slice(2);
const codec = sparkplug.get("spBv1.0");
const state = `spBv1.0/STATE/${hostId}`;
const timestamp = Date.now();
const told = (online) => JSON.stringify({ online, timestamp });
const births = new Map();
const plain = (value) => (value && typeof value.toNumber === "function" ? value.toNumber() : value);
const say = (found) => process.stdout.write(JSON.stringify(found) + "\n");

const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, {
  clean: true,
  clientId: `host-${process.pid}`,
  will: { topic: state, payload: told(false), qos: 1, retain: true },
});

function read(topic, data) {
  const [, , kind, , device = ""] = topic.split("/");
  const payload = codec.decodePayload(data);
  if (kind.endsWith("BIRTH")) {
    births.set(device, new Map(payload.metrics.map((one) => [plain(one.alias), one.name])));
  }
  const names = births.get(device) ?? new Map();
  const metrics = (payload.metrics ?? []).map((one) => ({
    name: one.name || names.get(plain(one.alias)) || null,
    value: plain(one.value),
    type: one.type,
    timestamp: plain(one.timestamp),
    historical: Boolean(one.isHistorical),
    properties: one.properties ?? {},
  }));
  say({ kind, device, seq: plain(payload.seq), metrics });
}

client.on("connect", () => {
  client.subscribe([state, `spBv1.0/${group}/+/${node}/#`], { qos: 0 }, () => {
    client.publish(state, told(true), { qos: 1, retain: true });
    say({ kind: "READY" });
  });
});
client.on("message", (topic, data) => {
  if (topic === state || topic.split("/")[2].endsWith("CMD")) return;
  try {
    read(topic, data);
  } catch (error) {
    say({ kind: "FAILED", topic, error: String(error) });
  }
});

function ask(kind, device, metric) {
  const now = Date.now();
  const payload = { timestamp: now, metrics: [{ ...metric, timestamp: now }] };
  const topic = ["spBv1.0", group, kind, node, ...(device ? [device] : [])].join("/");
  client.publish(topic, Buffer.from(codec.encodePayload(payload)), { qos: 0 });
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const { do: what, device, name, type, value } = JSON.parse(line);
  if (what === "rebirth") ask("NCMD", "", { name: "Node Control/Rebirth", type: "Boolean", value: true });
  if (what === "write") ask("DCMD", device, { name, type, value });
  if (what === "leave") {
    client.publish(state, told(false), { qos: 1, retain: true }, () => client.end(false, () => process.exit(0)));
  }
});
