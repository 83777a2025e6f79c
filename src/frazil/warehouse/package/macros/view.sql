-- A view of the scratch file in one statement. dbt's own makes it aside, renames the old one, renames the new one, drops the old one:
-- four transactions, which nobody watches here, since readers read what a run leaves them (`views.json`).

{% materialization scratch_view, adapter='duckdb', supported_languages=['sql'] %}
  {%- set target = this.incorporate(type='view') -%}
  {%- set there = load_cached_relation(this) -%}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {%- if there is not none and not there.is_view -%}{%- do adapter.drop_relation(there) -%}{%- endif -%}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {% call statement('main') -%}
    {%- if config.get('contract').enforced -%}{{ get_assert_columns_equivalent(sql) }}{%- endif -%}
    create or replace view {{ target }} as ({{ sql }})
  {%- endcall %}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {% do adapter.commit() %}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}
