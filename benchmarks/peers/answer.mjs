// A command path as one writes it: mqtt.js in, fetch, mqtt.js out.
//   node answer.mjs MQTT_PORT API_URL TOKEN BASE [nodelay]

import mqtt from "mqtt";

const [mqttPort, apiUrl, token, base, nodelay] = process.argv.slice(2);
const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${mqttPort}`);
if (nodelay) client.stream.setNoDelay(true);

client.on("message", async (topic, payload) => {
  const [, serial, , command] = topic.split("/");
  const response = await fetch(
    `${apiUrl}/api/chargers/${serial}/commands/set_dynamic_charger_current`,
    {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify({ amps: Number(payload), minutes: 0 }),
    },
  );
  client.publish(`${base}/${serial}/result/${command}`, await response.text(), { qos: 1 });
});

await client.subscribeAsync(`${base}/+/set/+`, { qos: 1 });
client.publish(`${base}/ready`, "1", { qos: 1, retain: true });
