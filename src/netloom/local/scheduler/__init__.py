"""Puts pods on nodes: what a pod wants, which nodes will do, which of them is best, and who has to make room."""
