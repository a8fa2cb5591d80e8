// Drives @microsoft/signalr, unchanged. Arguments: hub URL, access token, "negotiate" or "skip".
// Prints and takes one JSON array a line, as driven.py describes.

import { createInterface } from "node:readline";
import { HttpTransportType, HubConnectionBuilder, LogLevel } from "@microsoft/signalr";

const [url, token, manner] = process.argv.slice(2);

const say = (...words) => process.stdout.write(JSON.stringify(words) + "\n");

const connection = new HubConnectionBuilder()
  .withUrl(url, {
    accessTokenFactory: () => token,
    transport: HttpTransportType.WebSockets,
    skipNegotiation: manner === "skip",
  })
  .withAutomaticReconnect([50, 100, 200, 400])
  .configureLogging(LogLevel.None)
  .build();

connection.on("ProductUpdate", (update) =>
  say("value", update.mid, update.id, update.value, update.dataType, update.timestamp),
);
connection.on("CommandResponse", (response) =>
  say("response", response.serialNumber, response.id, response.wasAccepted),
);
connection.onreconnecting(() => say("reconnecting"));
connection.onreconnected(() => say("reconnected"));
connection.onclose((error) => say("closed", error ? String(error) : null));

const methods = {
  start: () => connection.start(),
  stop: () => connection.stop(),
  invoke: (method, ...words) => connection.invoke(method, ...words),
  send: (method, ...words) => connection.send(method, ...words),
  state: async () => connection.state,
};

for await (const line of createInterface({ input: process.stdin })) {
  const [number, method, ...words] = JSON.parse(line);
  try {
    say("answer", number, (await methods[method](...words)) ?? null);
  } catch (error) {
    say("answer", number, { error: String(error) });
  }
}
await connection.stop();
