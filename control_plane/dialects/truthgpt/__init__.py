"""The TruthGPT optimization API: REST and gRPC."""
