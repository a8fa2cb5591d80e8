"""What a charger says, what it means, and what is shown of it."""
