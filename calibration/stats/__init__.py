"""Statistics of frames: moments, sensor and output features, and the tensor files they are kept in; the heap."""
