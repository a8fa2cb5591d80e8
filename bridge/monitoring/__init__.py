"""Health seen from outside: status page model, metrics, watchdog, health check, systemd."""
