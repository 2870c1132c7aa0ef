"""Long work that survives the death of the server."""
