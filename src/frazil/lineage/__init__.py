"""OpenLineage events: what was read and written by landing, dbt and quality."""
