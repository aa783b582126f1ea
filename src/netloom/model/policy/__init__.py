"""Who may talk to whom: NetworkPolicy and ClusterNetworkPolicy as ordered rules, shared address sets, and judgements in words."""
