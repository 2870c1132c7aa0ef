"""TensorRT: which of its libraries is here, and the shapes that an engine is built for."""
