"""Recorder of what the core handled, and replay of what it recorded."""
