"""For machines: the OGC API over the store. `ogc.api.create_blueprint` is the way in."""
