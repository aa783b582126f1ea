"""Kubernetes objects as typed structs: only the fields that the network reads. Pure; one file per API group.

What a client sent is never passed through here (that would lose fields): these structs are for readers.
"""
