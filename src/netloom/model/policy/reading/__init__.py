"""Policies read strictly: what cannot be read closes, is told with its field, and leaves everything else in force."""
