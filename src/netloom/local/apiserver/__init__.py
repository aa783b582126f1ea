"""The embedded Kubernetes API server: the real REST API over a store of raw documents.

Comes in: HTTP requests of kubectl and client libraries. Goes out: documents, watch events, Status objects.
Not here: controllers, scheduler, kubelet; they are clients of this server like anyone else.
"""
