"""exec, attach, port-forward and logs, as a kubelet serves them to the API server."""
