"""Finds the best candidate patch: reference set, simulated drift, candidates and their evaluation; ``flow`` runs it."""
