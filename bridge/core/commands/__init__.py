"""What may be asked of a charger, and what became of it."""
