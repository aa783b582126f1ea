"""Stand-in apps: one process per node that listens in the place of images that are not loaded."""
