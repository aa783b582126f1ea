"""Pods of a node on a bridge, as stations of a segment. See README.md."""
