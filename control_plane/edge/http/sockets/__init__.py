"""WebSockets: who is let in, how frames go to and fro, and how all of them are told that the server stops."""
