"""ONNX models; ``target.OnnxTarget`` is its face."""
