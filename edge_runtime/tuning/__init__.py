"""Finds by measurement how a model runs best on this box: runtimes, threads inside a call, concurrent calls."""
