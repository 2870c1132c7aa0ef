"""The live model repository: revisions as immutable Triton model directories. Nothing else writes there."""
