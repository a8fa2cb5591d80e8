"""The Easee Cloud: REST and the hub's stream."""
