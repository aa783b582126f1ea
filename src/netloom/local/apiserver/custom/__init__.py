"""CustomResourceDefinitions: kinds that users define, served like all others (apiextensions.k8s.io/v1)."""
