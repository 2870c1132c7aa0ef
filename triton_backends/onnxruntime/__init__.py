"""Runs ONNX models where NVIDIA's native onnxruntime backend is not installed (see model.py)."""
