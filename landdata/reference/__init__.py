"""What does not change with the store: parcel keys, land use, coordinates, calendar."""
