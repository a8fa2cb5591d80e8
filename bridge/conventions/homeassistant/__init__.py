"""Home Assistant discovery for the chargers."""
