"""Small files beside the store, and files that operators write."""
