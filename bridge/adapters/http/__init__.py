"""The web server of the bridge: health for machines, metrics for Prometheus, a page for people."""
