"""The public APIs, one folder each: its wire words, their mapping to the domain, its errors, its routes."""
