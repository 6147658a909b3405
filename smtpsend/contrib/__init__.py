"""For the frameworks that programs are built with: one module each, by its own extra."""
