"""The running service: lifecycle, edits of the configuration, cameras, worker threads, health and status.

``wiring.daemon.build_daemon`` makes one from a configuration.
"""
