"""Addresses of this node's pods: who has which, durably and exactly."""
