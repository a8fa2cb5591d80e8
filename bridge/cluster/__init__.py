"""Several gateways, several machines: leases on partitions and the supervisor that holds them.

``supervisor.py`` takes leases, runs a gateway for each and renews; ``partition.py`` is what a
gateway sees of its lease. Which partition is whose is decided in :mod:`bridge.core.partitions`.
"""
