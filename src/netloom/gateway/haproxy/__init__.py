"""PURE. What HAProxy is told, and how it is told of a difference: values of values."""
