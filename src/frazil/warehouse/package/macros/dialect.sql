-- What the engines spell differently.

{% macro text(column) %}cast({{ column }} as {{ dbt.type_string() }}){% endmacro %}

{% macro member(column, name) %}{{ return(adapter.dispatch('member', 'frazil')(column, name)) }}{% endmacro %}
{% macro default__member(column, name) %}{{ return(column ~ '.' ~ name) }}{% endmacro %}
{% macro snowflake__member(column, name) %}{{ return(column ~ ':' ~ name) }}{% endmacro %}

{% macro epoch_us(column) %}{{ return(adapter.dispatch('epoch_us', 'frazil')(column)) }}{% endmacro %}
{% macro default__epoch_us(column) %}{{ return('unix_micros(' ~ column ~ ')') }}{% endmacro %}
{% macro duckdb__epoch_us(column) %}{{ return('epoch_us(' ~ column ~ ')') }}{% endmacro %}
{% macro snowflake__epoch_us(column) %}{{ return('date_part(epoch_microsecond, ' ~ column ~ ')') }}{% endmacro %}

{% macro type_instant() %}{{ return(adapter.dispatch('type_instant', 'frazil')()) }}{% endmacro %}
{% macro default__type_instant() %}{{ return('timestamp') }}{% endmacro %}
{% macro duckdb__type_instant() %}{{ return('timestamptz') }}{% endmacro %}
{% macro snowflake__type_instant() %}{{ return('timestamp_tz') }}{% endmacro %}

{% macro instant(day) %}{{ return("cast('" ~ day ~ " 00:00:00+00:00' as " ~ frazil.type_instant() ~ ')') }}{% endmacro %}
{% macro no_instant() %}{{ return('cast(null as ' ~ frazil.type_instant() ~ ')') }}{% endmacro %}

{% macro hash_key(columns) %}
  {#- A deterministic key: md5 over the columns' texts. Put what has a fixed form first, so that no two rows read the same. -#}
  {%- set parts = [] -%}
  {%- for column in columns -%}{%- do parts.append("coalesce(" ~ frazil.text(column) ~ ", '')") -%}{%- endfor -%}
  {{ return('md5(' ~ parts | join(" || '|' || ") ~ ')') }}
{% endmacro %}

{% macro unknown_key() %}
  {#- The key of the unknown member: no hash looks like it. -#}
  {{ return("'" ~ '0' * 32 ~ "'") }}
{% endmacro %}

{% macro regex(column, pattern) %}{{ return(adapter.dispatch('regex', 'frazil')(column, "'" ~ pattern | replace("'", "''") ~ "'")) }}{% endmacro %}
{% macro default__regex(column, pattern) %}{{ return(column ~ ' rlike ' ~ pattern) }}{% endmacro %}
{% macro duckdb__regex(column, pattern) %}{{ return('regexp_matches(' ~ column ~ ', ' ~ pattern ~ ')') }}{% endmacro %}
{% macro snowflake__regex(column, pattern) %}{{ return('regexp_instr(' ~ column ~ ', ' ~ pattern | replace('\\', '\\\\') ~ ') > 0') }}{% endmacro %}
