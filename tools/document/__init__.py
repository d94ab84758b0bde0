"""Writes ``docs/reference/`` and the documents for machines from the types: ``python -m tools.document``."""
