"""The control plane: the server beside Triton."""
