"""Remote commands under attack."""
