"""Models that are built into bundles from what their authors published, each by a recipe and a page of code."""
