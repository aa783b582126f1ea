"""What the ways to other nodes really carry: asked by packets of full size, and told."""
