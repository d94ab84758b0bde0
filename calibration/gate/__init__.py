"""Decides whether a candidate may be used; ``dispatch.choose`` is its face. Pure."""
