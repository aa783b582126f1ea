"""The Kubernetes API seen by a client: kubeconfig, requests, watches, caches."""
