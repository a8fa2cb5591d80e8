"""PostgreSQL as the store, as leases and as what the workers of a cluster share.

Imported only where ``store.url`` is set: asyncpg is an extra.
"""
