"""The vendor's two interfaces as values: what may be asked, what the bytes say, and how often."""
