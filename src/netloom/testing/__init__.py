"""Shipped test tools: topologies, builders, fakes, packets."""
