"""Code that runs inside Triton."""
