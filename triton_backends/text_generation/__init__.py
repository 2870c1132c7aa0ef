"""Text generation with continuous batching, behind Triton's decoupled interface (see README.md)."""
