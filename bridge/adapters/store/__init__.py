"""The store, by SQLite. Start reading at :mod:`bridge.adapters.store.sqlite.store`."""
