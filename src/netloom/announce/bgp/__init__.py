"""A node's speaker of BGP: what the model says becomes a configuration of BIRD, which runs as the speaker's child. See README.md."""
