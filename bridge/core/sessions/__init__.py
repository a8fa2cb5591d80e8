"""Session reports and their delivery to consumers."""
