"""Where packets for other nodes' pods go."""
