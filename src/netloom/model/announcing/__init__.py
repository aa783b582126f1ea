"""Which node answers for which address outside. Pure."""
