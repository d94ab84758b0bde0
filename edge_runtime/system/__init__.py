"""Services of Linux: files, locks, priorities, memory, CPUs, systemd, logs; and the kinds of camera address."""
