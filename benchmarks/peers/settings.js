// Node-RED without its editor. With NODELAY in the environment every socket has TCP_NODELAY, which
// nobody gets as shipped.

if (process.env.NODELAY) {
  const net = require("net");
  const connect = net.Socket.prototype.connect;
  net.Socket.prototype.connect = function (...given) {
    return connect.apply(this, given).setNoDelay(true);
  };
}

module.exports = {
  uiHost: "127.0.0.1",
  uiPort: Number(process.env.UI_PORT),
  disableEditor: true,
  httpAdminRoot: false,
  diagnostics: { enabled: false, ui: false },
  telemetry: { enabled: false },
  logging: { console: { level: "error", metrics: false, audit: false } },
};
