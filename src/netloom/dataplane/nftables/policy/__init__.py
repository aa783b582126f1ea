"""NetworkPolicy on nftables: one chain for each distinct set of policies, shared address sets, a verdict map from pod to chain."""
