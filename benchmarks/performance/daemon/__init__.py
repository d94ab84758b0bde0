"""The daemon alone, and compared with the bare engine."""
