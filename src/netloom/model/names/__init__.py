"""DNS names of the cluster as record sets."""
