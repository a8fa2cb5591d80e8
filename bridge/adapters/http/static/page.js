"use strict";

// Everything that comes over the feed is written as text, never as markup: names and ids are
// other people's. Times and ages are told by the bridge's clock, not by this device's.

const QUIET_MS = 15_000;
const AGAIN_MS = 3_000;
const GOOD = new Set(["confirmed", "noop", "accepted"]);
const WARN = new Set(["superseded", "unconfirmed", "expired", "unknown"]);
const STATES = {
  good: new Set(["connected", "ok", "online"]),
  warn: new Set(["degraded", "starting", "unknown"]),
};

// The vendor publishes what 3 and 4 mean; 0, 1 and 6 are what chargers were seen to say.
const AUTHORIZED = {
  auth_reason_0: "Nobody, not needed",
  auth_reason_1: "Tag",
  auth_reason_6: "Account",
  offline_whitelist: "Tag of its own list, offline",
  offline_allow_all: "Any tag, offline",
};

// What the cloud's state means to somebody in front of the page; others are connections.
const AWAY = {
  disconnected: "No connection to the Easee cloud",
  auth_failed: "The Easee cloud refuses the login",
  blocked: "The Easee cloud blocks this address",
};
// Without a car and without a connection are two things.
const MODES = {
  disconnected: "No car",
  offline: "No connection",
  awaiting_start: "Car waits",
  completed: "Charging finished",
};

const cards = new Map();
const meters = new Map();
let source = null;
let ahead_ms = 0;
let heard = {};
let latest_ms = 0;
let isLive = false;
let bridge = {};
let last_at = "";

const one = (selector, within = document) => within.querySelector(selector);

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function words(name) {
  if (name === undefined || name === null || name === "null" || name === "") return "not known";
  const text = String(name).replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
}

function number(value, digits) {
  const found = Number.parseFloat(value);
  return Number.isFinite(found) ? found.toFixed(digits) : "–";
}

function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172_800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} days`;
}

// With the day where it is another one.
function clock(iso) {
  const at = new Date(iso);
  const isToday = at.toDateString() === new Date(now_ms()).toDateString();
  return isToday ? at.toLocaleTimeString() : at.toLocaleString();
}

const now_ms = () => Date.now() + ahead_ms;

// -- the bridge ----------------------------------------------------------------------------------

function link(name, text, tone) {
  const item = one(`[data-link="${name}"]`);
  item.dataset.tone = tone;
  write(one("span", item), text);
}

function toneOf(state) {
  if (STATES.good.has(state)) return "good";
  return STATES.warn.has(state) ? "warn" : "bad";
}

function showAway() {
  const title = AWAY[bridge.cloud];
  const away = one("#away");
  away.hidden = !title;
  document.body.dataset.fresh = isLive && !title ? "yes" : "no";
  if (!title) return;
  write(one("h2", away), title);
  const since = bridge.cloud_since ? `Since ${clock(bridge.cloud_since)}, ${span(now_ms() - Date.parse(bridge.cloud_since))} ago. ` : "";
  const newest = Object.values(heard).reduce((last, at) => (at > last ? at : last), "");
  const known = newest ? `Below is what was last known; the newest value is of ${clock(newest)}.` : "No value is known yet.";
  write(one("p", away), since + known);
}

function showBridge(told) {
  bridge = told;
  showCluster(told.cluster);
  link("broker", bridge.broker, toneOf(bridge.broker));
  link("cloud", words(bridge.cloud).toLowerCase() + (bridge.polling ? ", polling" : ""), toneOf(bridge.cloud));
  const store = bridge.store === undefined ? "unknown" : bridge.store ? "ok" : "failed";
  link("store", store, toneOf(store));
  const { pending = 0, published = 0, set_aside = 0, unsaved = 0, kept = 0 } = bridge.reports ?? {};
  const owed = [
    [pending, "owed"],
    [set_aside, "refused by the broker"],
    [unsaved, "not on disk"],
    [published, "unsettled"],
    [kept, "kept for the first consumer"],
  ].filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`).join(", ");
  const tone = pending + set_aside + unsaved > 0 ? "warn" : "good";
  link("ledger", bridge.reports ? owed || "none owed" : "unknown", bridge.reports ? tone : "warn");
  const alerts = one("#alerts");
  alerts.replaceChildren(...bridge.alerts.map(({ message, hint, since }) => {
    const item = document.createElement("li");
    const parts = { strong: message, span: hint, small: `since ${new Date(since).toLocaleString()}` };
    for (const [kind, text] of Object.entries(parts)) {
      const part = document.createElement(kind);
      part.textContent = text;
      item.append(part);
    }
    return item;
  }));
  alerts.hidden = bridge.alerts.length === 0;
  write(one("#version"), bridge.version ? `charger-bridge ${bridge.version}` : "");
}

// -- a charger -----------------------------------------------------------------------------------

function cardOf(id) {
  if (!cards.has(id)) {
    const item = one("#charger").content.firstElementChild.cloneNode(true);
    cards.set(id, { item, told: null });
  }
  return cards.get(id);
}

function field(item, name, text, tone = "") {
  const element = one(`[data-field="${name}"]`, item);
  write(element, text);
  element.dataset.tone = tone;
}

function showCharger(told) {
  const card = cardOf(told.id);
  card.told = told;
  const { item } = card;
  write(one("h2", item), told.name ? `${told.name} (${told.id})` : told.id);
  const values = told.values;
  const isOnline = told.availability === "online";
  one("article", item).dataset.online = isOnline ? "yes" : "no";
  const badge = one(".badge", item);
  write(badge, isOnline ? "Online" : told.availability === "offline" ? "Offline" : "Not heard");
  badge.dataset.tone = isOnline ? "good" : "bad";
  write(one(".mode", item), MODES[values.op_mode] ?? words(values.op_mode));
  const reason = values.no_current_reason;
  write(one(".reason", item), !reason || ["ok", "null", "undefined"].includes(reason) ? "" : words(reason));
  write(one(".power span", item), number(values.total_power, 1));
  const strip = one(".strip", item);
  strip.dataset.color = values.led_color ?? "";
  strip.dataset.pattern = values.led_pattern ?? "";
  const isOff = values.led_color === "off" || values.led_pattern === "off";
  const known = values.led_color && values.led_color !== "null";
  const light = isOff ? "off" : `${values.led_color}, ${words(values.led_pattern).toLowerCase()}`;
  write(one(".light", item), known ? `Light ${isOnline ? "" : "was "}${light}` : "Light not known");
  field(item, "phases", phases(values));
  field(item, "limit", limit(values));
  field(item, "schedule", schedule(told.schedule));
  field(item, "access", words(values.access_mode));
  field(item, "policy", words(values.offline_policy));
  showCommands(item, told.commands);
}

// One phase or three, as far as the wiring is known.
function phases(values) {
  const known = ["current_l1", "current_l2", "current_l3"]
    .map((name, place) => [`L${place + 1}`, Number.parseFloat(values[name])])
    .filter(([, amps]) => Number.isFinite(amps));
  return known.length ? known.map(([name, amps]) => `${name} ${amps.toFixed(1)} A`).join(", ") : "–";
}

function limit({ held_limit: held, dynamic_charger_current: dynamic }) {
  if (Number.isFinite(Number.parseFloat(held))) return `${number(held, 0)} A, held`;
  return Number.isFinite(Number.parseFloat(dynamic)) ? `${number(dynamic, 0)} A` : "–";
}

function schedule(told) {
  if (!told) return "–";
  if (told.in_force === "none") return "None";
  if (told.in_force === "ocpp.direct") return "Local OCPP decides";
  const next = told.next_stop && (!told.next_start || told.next_stop < told.next_start)
    ? `, until ${clock(told.next_stop)}`
    : told.next_start ? `, from ${clock(told.next_start)}` : "";
  return words(told.in_force) + next;
}

function showEqualizers(order, changed) {
  for (const told of changed) meters.set(told.id, told);
  for (const id of meters.keys()) if (!order.includes(id)) meters.delete(id);
  const list = one("#equalizers");
  list.hidden = meters.size === 0;
  list.replaceChildren(...[...meters.values()].map(({ id, name, availability, values }) => {
    const item = document.createElement("li");
    const title = document.createElement("b");
    title.textContent = name ? `${name} (${id})` : id;
    const text = document.createElement("span");
    const kw = `House takes ${number(values.active_power_import, 1)} kW, gives ${number(values.active_power_export, 1)} kW`;
    text.textContent = availability === "online" ? kw : `Not heard; last: ${kw}`;
    item.append(title, text);
    return item;
  }));
}

function showCluster(cluster) {
  one("#cluster").hidden = !cluster;
  if (!cluster) return;
  const owners = cluster.partitions.map(({ partition, owner }) => `${partition}: ${owner ?? "nobody"}`);
  write(one("#cluster"), `Workers: ${cluster.members.join(", ")}. Partitions: ${owners.join(", ")}.`);
}

function showCommands(item, commands) {
  one(".commands", item).hidden = commands.length === 0;
  one(".commands ol", item).replaceChildren(...commands.map((command) => {
    const row = document.createElement("li");
    const name = document.createElement("b");
    const fate = document.createElement("span");
    const state = command.state;
    row.dataset.tone = GOOD.has(state) ? "good" : WARN.has(state) ? "warn" : "bad";
    name.textContent = words(command.command);
    const why = command.reason ? `, ${words(command.reason).toLowerCase()}` : "";
    const took = command.final ? ` in ${(command.elapsed_ms / 1000).toFixed(1)} s` : ", waiting";
    fate.textContent = `${state}${why}${took}`;
    row.append(name, fate);
    return row;
  }));
}

function showTimes({ item, told }) {
  const session = told.session ?? told.last;
  const isRunning = Boolean(told.session);
  write(one('[data-name="session"]', item), isRunning || !session ? "Session" : "Last session");
  const energy = isRunning ? session.energy_kwh ?? told.values.session_energy : session?.energy_kwh;
  field(item, "energy", session ? `${number(energy, 2)} kWh` : "None yet");
  const start = Date.parse(session?.started_at ?? "");
  const end = isRunning ? now_ms() : Date.parse(session?.ended_at ?? "");
  field(item, "duration", Number.isFinite(end - start) ? span(end - start) : "–");
  field(item, "auth", session?.auth_reason_name ? AUTHORIZED[session.auth_reason_name] ?? "Unknown" : "–");
  const at = Date.parse(heard[told.id] ?? "");
  const isStale = told.availability !== "online";
  const age = Number.isFinite(at) ? `${span(now_ms() - at)} ago` : "never";
  field(item, "age", isStale ? `${age}, stale` : age, isStale ? "bad" : "");
}

function arrange(order) {
  const list = one("#chargers");
  for (const [id, { item }] of cards) {
    if (!order.includes(id)) {
      item.remove();
      cards.delete(id);
    }
  }
  order.forEach((id, place) => {
    const { item } = cardOf(id);
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
  });
  const modes = [...cards.values()].filter(({ told }) => told);
  const charging = modes.filter(({ told }) => told.availability === "online" && told.values.op_mode === "charging");
  const online = modes.filter(({ told }) => told.availability === "online").length;
  const kw = charging.reduce((sum, { told }) => sum + (Number.parseFloat(told.values.total_power) || 0), 0);
  const power = charging.length ? ` with ${kw.toFixed(1)} kW` : "";
  const what = `${charging.length} of ${order.length} charging${power}, ${online} online`;
  write(one("#summary"), AWAY[bridge.cloud] ? "Not up to date" : what);
}

// -- the feed ------------------------------------------------------------------------------------

function live(is) {
  isLive = is;
  document.body.dataset.live = is ? "yes" : "no";
  link("page", is ? "live" : "not connected", is ? "good" : "bad");
  one("#lost").hidden = is;
  if (!is) {
    const since = last_at ? ` What you see is from ${new Date(last_at).toLocaleTimeString()}.` : "";
    write(one("#lost"), `No connection to the bridge.${since} Trying again.`);
  }
}

function take(event) {
  const message = JSON.parse(event.data);
  latest_ms = performance.now();
  last_at = message.at;
  ahead_ms = Date.parse(message.at) - Date.now();
  heard = message.heard;
  if (!isLive) live(true);
  if (message.told.bridge) showBridge(message.told.bridge);
  for (const charger of message.told.chargers ?? []) showCharger(charger);
  if (message.told.meters) showEqualizers(message.told.meters, message.told.equalizers ?? []);
  if (message.told.order) arrange(message.told.order);
  everySecond();
}

function everySecond() {
  showAway();
  const age = Date.parse(bridge.started_at ?? "");
  if (isLive) link("bridge", Number.isFinite(age) ? `runs for ${span(now_ms() - age)}` : "runs", "good");
  for (const card of cards.values()) if (card.told) showTimes(card);
}

function open() {
  source?.close();
  latest_ms = performance.now();
  source = new EventSource("page/feed");
  for (const kind of ["snapshot", "change", "alive"]) source.addEventListener(kind, take);
  source.addEventListener("error", () => live(false));
}

// The browser comes back by itself after most breaks; this is for the others.
function watch() {
  const quiet_ms = performance.now() - latest_ms;
  if (quiet_ms > QUIET_MS) live(false);
  if (quiet_ms > QUIET_MS || (source.readyState === EventSource.CLOSED && quiet_ms > AGAIN_MS)) open();
}

open();
setInterval(everySecond, 1000);
setInterval(watch, 1000);
