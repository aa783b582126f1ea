"""Whether what was made of Ingresses does what they did: asked of the model, and of a real HAProxy on loopback."""
