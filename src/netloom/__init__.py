"""netloom: the whole Kubernetes network as one program that runs it, explains it and proves it."""

__version__ = "0.1.0"
