"""A survey file's life: received, checked, accepted or not."""
