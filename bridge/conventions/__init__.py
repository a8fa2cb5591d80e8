"""Output conventions: how changes of the core are published."""
