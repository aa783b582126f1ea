"""PodDisruptionBudgets: how many pods of a group may go at a time."""
