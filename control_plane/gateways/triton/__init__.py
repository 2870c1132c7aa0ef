"""Triton: its process, its wire, what it says of itself, and what its failures mean."""
