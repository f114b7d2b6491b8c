"""The private PostGIS cluster."""
