"""Reference data, independent of the store: parcel keys, land use, VN-2000, calendar."""
