"""GraphQL over HTTP and WebSockets: documents within bounds, both subprotocols, errors in our words; no schema."""
