"""Kernel programs as values, their diffs, and every name and mark we put in a kernel. Pure."""
