"""charger-bridge: a gateway between MQTT and the Easee Cloud.

The folder listing is the architecture; ``docs/architecture.md`` draws it. In one line: sources
turn the outside world into events, :mod:`bridge.core` turns events into effects, adapters carry
the effects out, and :mod:`bridge.app` joins them.
"""

__version__ = "1.0.0"
