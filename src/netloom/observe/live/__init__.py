"""A walk against the kernels of the nodes: what they have where it passes, and how that differs from what the model says."""
