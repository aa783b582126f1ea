"""Pods of other nodes through VXLAN, with static entries only. See README.md."""
