"""How alike a candidate and the baseline answer on inputs that nothing was tuned on; a file for each kind of model."""
