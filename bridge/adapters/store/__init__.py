"""Store adapters. Start reading at :mod:`bridge.adapters.store.sqlite.store`."""
