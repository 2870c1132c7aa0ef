"""The doors to the outside: one system each, satisfying one port, translating its errors once."""
