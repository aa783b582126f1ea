"""Pods of other nodes through WireGuard, and never in plain text. See README.md."""
