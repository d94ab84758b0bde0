"""Services of Linux (files, locks, priorities, CPUs, systemd, logs); the kinds of camera address and of model file."""
