"""One file per capability; each is usable and tested before any dialect shows it."""
