"""Finished sessions: the billing records, and who still has to be given them."""
