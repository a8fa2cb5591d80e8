"""What events carry and stores keep: the lowest floor of the core."""
