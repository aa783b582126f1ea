"""The embedded cluster: API server, controllers, scheduler, nodes and pods as namespaces."""
