"""What may be asked of the store, without HTTP."""
