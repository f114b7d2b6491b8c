"""The portal: pages for people over the store and its OGC API."""
