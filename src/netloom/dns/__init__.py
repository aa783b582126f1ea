"""The cluster's DNS server: a process of its own, fed by the agent."""
