"""What `make demo` runs on, made by this project."""
