"""Embeds or classifies text: tokenizes inside Triton and runs an ONNX graph (see README.md)."""
