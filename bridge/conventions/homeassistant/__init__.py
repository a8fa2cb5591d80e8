"""What Home Assistant is told of the chargers, so that they appear there by themselves."""
