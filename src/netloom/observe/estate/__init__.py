"""What a cluster is made of, as manifests or an API server say it, and what it would be after a change."""
