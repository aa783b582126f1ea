"""The names of a cluster and their records, as the Kubernetes DNS specification 1.1 says. Pure."""
