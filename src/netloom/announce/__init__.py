"""A node's speaker: who of the nodes is alive, and addresses told to the networks around (ARP, NDP, BGP)."""
