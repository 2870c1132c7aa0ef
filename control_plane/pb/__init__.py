"""The messages of the gRPC APIs: `optimization_pb2*` are made by `python proto/generate.py`, never edited by hand."""
