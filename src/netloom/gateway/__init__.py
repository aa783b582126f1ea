"""Ingress and Gateway API on a node: the model's plan, told to HAProxy."""
