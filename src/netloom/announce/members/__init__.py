"""Which nodes are alive: heartbeats between the speakers, and what follows from silence."""
