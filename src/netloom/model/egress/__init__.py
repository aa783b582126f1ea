"""What leaves the cluster: with whose address as its source, and by which routes of our own."""
