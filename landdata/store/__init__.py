"""PostGIS: connections, tables, locks, and the queries that read parcels."""
