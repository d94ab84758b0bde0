"""Composition root: the only package that names concrete engines, sources and destinations, and puts them together.

``wiring.build_daemon`` makes a daemon from a configuration; ``models`` one model's runtime, ``sources`` a source,
``destinations`` where results go. No policy lives here. Called by the command line.
"""
