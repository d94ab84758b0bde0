"""One module per track: its cases, its model and its score."""
