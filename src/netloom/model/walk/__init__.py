"""What happens to a packet, and which object and field is responsible: the second of the two functions that carry netloom."""
