-- Views are made in one statement each: see the package `frazil`. A materialization of dbt's own can only be replaced by name, here.
{% materialization view, adapter='duckdb' %}{{ return(frazil.materialization_scratch_view_duckdb()) }}{% endmaterialization %}
