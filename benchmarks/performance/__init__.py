"""Speed, latency, CPU and memory of the daemon."""
