"""From Ingresses of the retired controller to Gateway API: what is made, what is lost, and whether both do the same. Pure."""
