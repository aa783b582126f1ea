"""Images of real programs: read from archives, unpacked once, kept by name. Not here: running them (``local/runner/crun``)."""
