"""The HTTP side: health, status, results and the dashboard, on loopback unless the configuration says otherwise."""
