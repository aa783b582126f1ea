"""DaemonSets: a pod on each node that should have one."""
