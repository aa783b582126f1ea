"""Pods of other nodes through UDP and a process of ours: a fallback, for networks that drop all else. See README.md."""
