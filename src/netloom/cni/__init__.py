"""The container network interface: verbs, addresses, attachments, and the socket that the C shim talks to."""
