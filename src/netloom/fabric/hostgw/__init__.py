"""Pods of other nodes behind plain routes: for nodes that share a segment. See README.md."""
