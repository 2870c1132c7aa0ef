"""What all gRPC APIs share: who may call, how an error becomes a status, health, reflection, the server itself."""
