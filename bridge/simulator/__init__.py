"""The simulated Easee cloud: REST and hub on loopback, for the demo and tests.

Each line imports only what stands above it:

* pure: ``scenario`` (what is asked for), ``observation_table`` (ids, names and types as the vendor
  publishes them), ``readings`` (observations on the wire), ``presentation``
  (op mode, LED and reason from the facts), ``plans`` (schedules), ``telemetry``, ``sessions``,
  ``voice`` (what a charger has said), ``charger`` (one charger), ``offline`` (what it brings back),
  ``seed`` (what it said before we looked), ``commands`` and ``settings`` (what may be asked of it),
  ``traffic`` (cars and people), ``world`` (all of them, and time), ``accounts`` (tokens),
  ``limits`` (429), ``problems`` (answers and refusals), ``documents`` and ``usage`` (the bodies of
  the reads), ``rest`` (the table of the interface);
* ``web``: the one import of aiohttp (extra ``demo``);
* ``hub`` and ``server``: sockets, one port, and the handles a test pulls.

Everything is drawn from ``Scenario.seed`` and the ``now`` that is passed in: the same two give the
same observations.
"""
