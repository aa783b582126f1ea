"""What happens to a packet, and which object and field is responsible for each step."""
