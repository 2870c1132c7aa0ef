"""ONNX graphs as recipes and checks read, change, write and run them, with onnx and onnxruntime."""
