"""State of a charger: its values, their meaning, and what is published of them."""
