"""The node's DNS server: a process of its own, fed by the agent, answering at the cluster DNS address."""
