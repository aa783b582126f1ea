"""The node runner: what a kubelet is to a node, for pods whose containers are stand-in apps (see README.md)."""
