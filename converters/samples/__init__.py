"""What models are tried and calibrated on: text, tensors, rows that a caller gave."""
