"""Web server: health checks, Prometheus metrics, status page."""
