"""One file per change of the tables, in order of their numbers; a file is never edited after its release."""
