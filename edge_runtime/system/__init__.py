"""What is asked of Linux: files, locks, priorities, memory, CPUs, systemd, logs."""
