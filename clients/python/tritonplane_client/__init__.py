"""Python client of tritonplane."""
