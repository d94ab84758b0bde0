"""The HTTP side: health, status, results and the dashboard, on loopback unless told otherwise."""
