"""What a node serves besides packets: health checks, metrics, and NodePorts at localhost."""
