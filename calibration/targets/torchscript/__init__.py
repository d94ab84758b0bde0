"""TorchScript files, through ``backend.TorchScriptBackend``."""
