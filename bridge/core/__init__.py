"""The pure core: no clock, no randomness, no socket, no thread, no logging.

Everything here is a function of what is passed in. That is what lets one test run simulate years
of bad networks from one seed; an import contract in ``pyproject.toml`` keeps it so.
"""
