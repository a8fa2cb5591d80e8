"""A real Home Assistant, headless, and what is asked of it."""
