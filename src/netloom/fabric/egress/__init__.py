"""What pods leave by gateways takes: tunnels to the nodes that have the addresses, and the table that chooses; see README.md beside this file."""
