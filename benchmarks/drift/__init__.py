"""How surely the drift monitor finds a drift, and how often it is wrong."""
