// A bridge as one writes it in an afternoon: ws and mqtt.js, nothing else.
//   node forward.mjs HUB_PORT MQTT_PORT CHARGERS

import mqtt from "mqtt";
import WebSocket from "ws";

const [hubPort, mqttPort, chargers] = process.argv.slice(2, 5).map(Number);
const END = "\x1e";

const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${mqttPort}`);
const socket = new WebSocket(`ws://127.0.0.1:${hubPort}/hubs/chargers?id=c`);

socket.on("open", () => {
  socket.send(JSON.stringify({ protocol: "json", version: 1 }) + END);
  for (let number = 0; number < chargers; number++) {
    const call = {
      type: 1,
      invocationId: String(number),
      target: "SubscribeWithCurrentState",
      arguments: [`EH${100000 + number}`, true],
    };
    socket.send(JSON.stringify(call) + END);
  }
});

socket.on("message", (data) => {
  for (const record of data.toString().split(END)) {
    if (!record) continue;
    const message = JSON.parse(record);
    if (message.target !== "ProductUpdate") continue;
    const { mid, id, value } = message.arguments[0];
    client.publish(`charger/${mid}/state/${id}`, value, { qos: 1, retain: true });
  }
});
