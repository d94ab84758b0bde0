"""The store of installed bundles, ``<root>/<name>/<version>``: install, list, remove, collect.

A version comes by one rename and goes by one rename, so it is whole or absent however a process ends. Everything else
happens in hidden work folders, which the next command that changes the store sweeps.
"""
