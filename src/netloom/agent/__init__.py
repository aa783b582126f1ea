"""The node daemon: wiring only."""
