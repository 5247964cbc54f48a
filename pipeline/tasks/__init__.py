"""`pipeline(task, model)`: recordings in, texts or classes out, by the call that these models' pages show first."""
