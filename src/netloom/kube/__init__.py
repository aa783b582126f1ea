"""I/O: the client of the Kubernetes API. kubeconfig, requests, errors, list and watch.

resources.py says how kinds are addressed, kubeconfig.py where the server is and who we are, client.py makes requests,
status.py turns the server's errors into ours, watch.py keeps typed objects up to date.
"""
