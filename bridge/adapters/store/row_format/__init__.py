"""Rows of a store as columns, the same in every database: what is hashed is what is kept."""
