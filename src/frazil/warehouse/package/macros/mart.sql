-- A mart is a table of the lake: built anew, or continued from what landed since. Both become visible in one swap.

{% macro plan() %}
  {#- How this model is built now: `why` it is built anew (empty: it goes on), and after which `_commit` of each raw table. -#}
  {%- set request = {'ask': 'plan', 'model': model.unique_id, 'graph': graph, 'full_refresh': should_full_refresh(), 'unique_key': config.get('unique_key')} -%}
  {%- do adapter.store_relation('frazil', this, [], '', 'iceberg', request) -%}
  {{ return(request['plan']) }}
{% endmacro %}

{% macro incremental() %}
  {#- Whether the model goes on from its own rows. Stands in for dbt's `is_incremental`, which knows no marts. -#}
  {{ return(adapter.dispatch('incremental', 'frazil')()) }}
{% endmacro %}

{% macro default__incremental() %}
  {%- if flags.WHICH in ('compile', 'parse', 'docs') -%}{{ return(false) }}{%- endif -%}
  {{ return(is_incremental()) }}
{% endmacro %}

{% macro duckdb__incremental() %}
  {%- if not execute or model.resource_type != 'model' or model.config.materialized != 'iceberg' -%}{{ return(false) }}{%- endif -%}
  {{ return(not frazil.plan()['why']) }}
{% endmacro %}

{% macro after(raw) %}
  {#- `_commit` of a raw table up to which the model has its rows: what is new lies above. -#}
  {{ return(adapter.dispatch('after', 'frazil')(raw)) }}
{% endmacro %}

{% macro default__after(raw) %}{{ return('(select coalesce(max(_commit), 0) from ' ~ this ~ ')') }}{% endmacro %}

{% macro duckdb__after(raw) %}
  {%- if not execute or model.resource_type != 'model' -%}{{ return(0) }}{%- endif -%}
  {{ return(frazil.plan()['after'][raw]) }}
{% endmacro %}

{% macro first_new(relation, column, raw) %}
  {#-
    The least value of a column among the rows that are new, as a literal; none when there are none. A literal in a condition keeps
    the engine away from files that cannot meet it, which a subquery does not.
  -#}
  {%- set found = run_query('select cast(min(' ~ column ~ ') as ' ~ dbt.type_string() ~ ') from ' ~ relation ~ ' where _commit > ' ~ frazil.after(raw)) -%}
  {%- set least = found.rows[0][0] -%}
  {{ return(none if least is none else "cast('" ~ least ~ "' as " ~ frazil.type_instant() ~ ')') }}
{% endmacro %}

{% materialization iceberg, adapter='duckdb', supported_languages=['sql'] %}
  {%- set target = this.incorporate(type='view') -%}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- set plan = frazil.plan() -%}
  {%- if plan['idle'] -%}
    {% call noop_statement('main', 'OK unchanged', 'OK', 0) -%}{{ sql }}{%- endcall %}
  {%- else -%}
    {%- set request = {
      'ask': 'store', 'sql': sql, 'invocation': invocation_id,
      'partition_by': config.get('partition_by'), 'unique_key': config.get('unique_key'),
    } -%}
    {%- set landed_by = config.get('landed_by') -%}
    {%- if not plan['why'] and landed_by -%}
      {%- do request.update({'new_rows': '_commit > ' ~ plan['after'][landed_by]}) -%}
    {%- endif -%}
    {%- set keys_from = config.get('keys_from') -%}
    {%- if not plan['why'] and keys_from -%}
      {%- set key = config.get('unique_key') -%}
      {%- set names = key if key is string else key | join(', ') -%}
      {%- do request.update({'keys': 'select ' ~ names ~ ' from ' ~ this.include(identifier=false) ~ '.' ~ keys_from['view'] ~ ' where _commit > ' ~ plan['after'][keys_from['raw']]}) -%}
    {%- endif -%}
    {%- do adapter.store_relation('frazil', this, [], '', 'iceberg', request) -%}
    {%- set stored = request['stored'] -%}
    {%- set how = 'rebuilt: ' ~ plan['why'] if plan['why'] else 'continued' -%}
    {% call noop_statement('main', 'OK ' ~ stored['rows'] ~ ' rows, ' ~ stored['added'] ~ ' files added, ' ~ stored['removed'] ~ ' removed; ' ~ how, 'OK', stored['rows']) -%}{{ sql }}{%- endcall %}
  {%- endif -%}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {% do adapter.commit() %}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}

{% macro leave() %}
  {#- Views of the run for readers: the scratch file is open in one process only. -#}
  {%- if execute and target.type == 'duckdb' and flags.WHICH in ('build', 'run') -%}
    {%- do adapter.store_relation('frazil', none, [], '', 'iceberg', {'ask': 'leave'}) -%}
  {%- endif -%}
{% endmacro %}
