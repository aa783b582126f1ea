"""Failure on purpose: nodes that are switched off and on, cables that are cut, healed and slowed."""
