"""What runs in conversion child processes."""
