"""Questions asked of the model: why."""
