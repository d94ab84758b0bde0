"""The baselines of one site: the files, which one is in use, and what an operator can do with them."""
