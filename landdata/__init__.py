"""landdata: cadastral parcels from survey file to OGC API.

The store and its rules; it knows parcels and never HTTP. `docs/architecture.md` is the map.
"""
