"""The demo: a broker, a simulated cloud and the gateway in one process, and a view of it all.

Nothing here is special: the gateway is the one people run, the cloud is the one
``charger-bridge simulate`` serves, and the view is an MQTT client like any other.
"""
