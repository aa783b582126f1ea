"""What a cluster needs once, whatever its nodes: works over the API server that any number of processes may do at the same time."""
