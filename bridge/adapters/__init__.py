"""Adapters to external systems, one per module, each with at most one third-party library.

Adapters translate: library errors become ours at this border, and no ``httpx.`` or ``paho.`` name
appears above it. Adapters do not know each other.
"""
