"""What the network should be: pure; the same input gives the same bytes."""
