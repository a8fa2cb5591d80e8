"""Rows read out of a damaged database file."""
