"""``charger-bridge setup``: asks, verifies each answer, and writes a configuration.

``options`` reads the command line, ``dialogue`` asks, ``answers`` holds and renders what was
answered, ``purposes`` lists what the gateway can be for, ``files`` writes, ``unit`` renders and
starts the systemd unit, ``run`` puts them together.
"""
