"""TorchScript; ``target.TorchScriptTarget`` is its face."""
