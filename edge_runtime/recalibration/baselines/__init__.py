"""The baselines of one site: the files, which one is in use, and the operator's commands."""
