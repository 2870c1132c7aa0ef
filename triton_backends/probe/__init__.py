"""The self-test backend (see model.py)."""
