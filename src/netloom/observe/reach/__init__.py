"""Who can reach whom, by classes of equals: ends, ports and outside addresses cut so finely that all in one class fare the same."""
