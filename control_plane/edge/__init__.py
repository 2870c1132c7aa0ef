"""What all dialects share, per transport: the way in, the way out, and errors as statuses."""
