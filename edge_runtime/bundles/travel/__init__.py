"""Bundles on their way: a deterministic archive, and an OCI registry by the CNCF ModelPack specification."""
