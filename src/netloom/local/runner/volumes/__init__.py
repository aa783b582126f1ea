"""Volumes of pods: see README.md of the runner."""
