"""Does a converted model answer as its source does? One file for each kind of model."""
