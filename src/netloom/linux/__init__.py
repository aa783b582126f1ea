"""The only system calls: netlink, nft, conntrack, namespaces, sysctls, processes. Knows nothing of Kubernetes."""
