"""The command line. Start reading at :mod:`bridge.cli.main`."""
