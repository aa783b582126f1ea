"""The loop: dirty keys -> model -> compile -> apply -> ack. One writer, no knowledge of any plane."""
