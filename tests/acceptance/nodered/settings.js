// Node-RED without its editor, as small as the flows allow.

module.exports = {
  uiHost: "127.0.0.1",
  uiPort: Number(process.env.UI_PORT),
  disableEditor: true,
  httpAdminRoot: false,
  diagnostics: { enabled: false, ui: false },
  telemetry: { enabled: false },
  logging: { console: { level: "warn", metrics: false, audit: false } },
};
