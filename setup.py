"""The packages that are installed; everything else is in setup.cfg."""

from setuptools import find_packages, setup

MIGRATIONS = "landdata.migrations"

setup(
    packages=[
        *find_packages(include=["landdata*", "ogc*", "portal*"]),
        MIGRATIONS,
        f"{MIGRATIONS}.versions",
    ],
    package_dir={MIGRATIONS: "migrations"},
)
