"""Which model answers: opened bundles, the rollout table, and the swap of one generation for another.

``Deployment`` swaps, ``rollout`` says which step is legal, ``ModelState`` remembers it on disk.
"""
