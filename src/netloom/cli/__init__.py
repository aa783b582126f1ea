"""The netloom command."""
