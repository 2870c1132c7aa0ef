"""Our own API: keys and tokens, revisions, load and unload, jobs, events."""
