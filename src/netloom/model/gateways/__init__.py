"""Ways of HTTP, TLS and streams through gateways: from Ingress and Gateway API objects to one plan. Pure."""
