"""PURE. Addresses of Services of type LoadBalancer: pools, who asks for what, who gets which. Not here: writing it down (controller)."""
