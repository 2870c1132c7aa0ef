"""TruthGPT's GraphQL API (T-GQL-01..15): models, optimizations and inference as one schema, at /graphql."""
