-- What the engines spell differently.

{% macro text(column) %}cast({{ column }} as {{ dbt.type_string() }}){% endmacro %}

{% macro member(column, name) %}{{ return(adapter.dispatch('member', 'frazil')(column, name)) }}{% endmacro %}
{% macro default__member(column, name) %}{{ return(column ~ '.' ~ name) }}{% endmacro %}
{% macro snowflake__member(column, name) %}{{ return(column ~ ':' ~ name) }}{% endmacro %}

{% macro epoch_us(column) %}{{ return(adapter.dispatch('epoch_us', 'frazil')(column)) }}{% endmacro %}
{% macro default__epoch_us(column) %}{{ return('unix_micros(' ~ column ~ ')') }}{% endmacro %}
{% macro duckdb__epoch_us(column) %}{{ return('epoch_us(' ~ column ~ ')') }}{% endmacro %}
{% macro snowflake__epoch_us(column) %}{{ return('date_part(epoch_microsecond, ' ~ column ~ ')') }}{% endmacro %}

{% macro instant(literal) %}{{ return(adapter.dispatch('instant', 'frazil')(literal)) }}{% endmacro %}
{% macro default__instant(literal) %}{{ return("cast('" ~ literal ~ " 00:00:00+00:00' as timestamp)") }}{% endmacro %}
{% macro duckdb__instant(literal) %}{{ return("cast('" ~ literal ~ " 00:00:00+00' as timestamptz)") }}{% endmacro %}
{% macro snowflake__instant(literal) %}{{ return("cast('" ~ literal ~ " 00:00:00 +00:00' as timestamp_tz)") }}{% endmacro %}

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

{% macro no_instant() %}{{ return(adapter.dispatch('no_instant', 'frazil')()) }}{% endmacro %}
{% macro default__no_instant() %}{{ return('cast(null as timestamp)') }}{% endmacro %}
{% macro duckdb__no_instant() %}{{ return('cast(null as timestamptz)') }}{% endmacro %}
{% macro snowflake__no_instant() %}{{ return('cast(null as timestamp_tz)') }}{% endmacro %}

{% macro regex(column, pattern) %}{{ return(adapter.dispatch('regex', 'frazil')(column, "'" ~ pattern | replace("'", "''") ~ "'")) }}{% endmacro %}
{% macro default__regex(column, pattern) %}{{ return(column ~ ' rlike ' ~ pattern) }}{% endmacro %}
{% macro duckdb__regex(column, pattern) %}{{ return('regexp_matches(' ~ column ~ ', ' ~ pattern ~ ')') }}{% endmacro %}
{% macro snowflake__regex(column, pattern) %}{{ return('regexp_instr(' ~ column ~ ', ' ~ pattern | replace('\\', '\\\\') ~ ') > 0') }}{% endmacro %}
