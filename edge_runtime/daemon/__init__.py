"""The running service: its life, its cameras, its worker threads, its health.

``wiring.daemon.build_daemon`` makes one from a configuration.
"""
