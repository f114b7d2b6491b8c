"""For machines: the OGC API over the store. `ogc.app.create_blueprint` is the way in."""
