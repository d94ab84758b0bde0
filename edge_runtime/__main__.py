"""``python -m edge_runtime`` is ``edge-runtime``."""

from edge_runtime.cli.main import main

main()
