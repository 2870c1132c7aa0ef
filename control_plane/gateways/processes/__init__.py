"""The floor under all gateways that start programs."""
