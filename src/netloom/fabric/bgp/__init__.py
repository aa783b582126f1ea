"""Pods of other nodes behind routes that routers outside tell (BGP): for networks that route themselves. See README.md."""
