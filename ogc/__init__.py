"""For machines: the OGC API over the store. `ogc.app.Application` is the way in."""
