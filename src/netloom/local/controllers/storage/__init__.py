"""Volumes: claims bound to volumes, and volumes made for claims."""
