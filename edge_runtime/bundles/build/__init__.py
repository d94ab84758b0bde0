"""Bundles are built here, on a workstation; the device never imports this. ``from_recipe.build`` is its face."""
