"""The daemon alone and beside the bare engine."""
