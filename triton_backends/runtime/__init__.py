"""What every backend shares: Triton's types, tensors, parameters, decoupled replies. No model, no framework."""
