"""The daemon compared with servers of models."""
