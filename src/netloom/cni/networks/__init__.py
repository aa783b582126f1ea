"""Networks beside the cluster's own: what a pod asks for, which plugins give it, and the record of it."""
