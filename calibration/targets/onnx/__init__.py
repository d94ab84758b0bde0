"""ONNX models, through ``backend.OnnxBackend``."""
