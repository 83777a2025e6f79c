"""❻ Iceberg tables: the catalog, the one swap, and what a snapshot's summary says. Sinks stand on it."""
