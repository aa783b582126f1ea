"""A place outside of a local cluster: a client on the underlay, programs run there, and ports of the host that lead from there inside."""
