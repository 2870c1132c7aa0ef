"""What an optimization measured, as a person reads it: a table on a terminal, a page in a browser."""
