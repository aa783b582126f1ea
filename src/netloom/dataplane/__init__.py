"""Service dataplanes; each compiles the model, applies the program, and explains the kernel."""
