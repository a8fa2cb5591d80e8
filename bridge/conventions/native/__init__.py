"""The native convention: the gateway's own topics."""
