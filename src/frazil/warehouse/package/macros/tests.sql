-- Generic tests: what a contract can say that dbt's own tests do not check. A null meets every rule but not_null.

{% macro _checked(column_name, member) %}
  {%- set place = namespace(at=column_name) -%}
  {%- for name in member -%}{%- set place.at = frazil.member(place.at, name) -%}{%- endfor -%}
  {{ return(place.at) }}
{% endmacro %}

{% test in_range(model, column_name, minimum=none, maximum=none, above=false, below=false, member=[]) %}
{%- set checked = frazil._checked(column_name, member) -%}
select {{ checked }} as value from {{ model }}
where false
{%- if minimum is not none %}
    or {{ checked }} {{ '<=' if above else '<' }} {{ minimum }}
{%- endif %}
{%- if maximum is not none %}
    or {{ checked }} {{ '>=' if below else '>' }} {{ maximum }}
{%- endif %}
{% endtest %}

{% test length_in(model, column_name, least=none, most=none, member=[]) %}
{%- set checked = frazil._checked(column_name, member) -%}
select {{ checked }} as value from {{ model }}
where false
{%- if least is not none %}
    or length({{ frazil.text(checked) }}) < {{ least }}
{%- endif %}
{%- if most is not none %}
    or length({{ frazil.text(checked) }}) > {{ most }}
{%- endif %}
{% endtest %}

{% test matches(model, column_name, pattern, member=[]) %}
{%- set checked = frazil._checked(column_name, member) -%}
select {{ checked }} as value from {{ model }}
where not {{ frazil.regex(frazil.text(checked), pattern) }}
{% endtest %}

{% test one_of(model, column_name, values, quote=true, member=[]) %}
{%- set checked = frazil._checked(column_name, member) -%}
select {{ checked }} as value from {{ model }}
where {{ checked }} not in ({% for value in values %}{{ "'" ~ value | replace("'", "''") ~ "'" if quote else value }}{{ ', ' if not loop.last }}{% endfor %})
{% endtest %}

{% test unique_together(model, columns, quote=false) %}
{%- set names = [] -%}
{%- for column in columns -%}{%- do names.append(adapter.quote(column) if quote else column) -%}{%- endfor -%}
select {{ names | join(', ') }}, count(*) as times from {{ model }}
group by {{ names | join(', ') }}
having count(*) > 1
{% endtest %}

{% test same_total(model, column_name, of, total) %}
-- the sum of a column here is the sum of another there: nothing was lost or doubled on the way
select here.total as here, there.total as there
from (select coalesce(sum({{ column_name }}), 0) as total from {{ model }}) as here
cross join (select coalesce(sum({{ total }}), 0) as total from {{ of }}) as there
where here.total <> there.total
{% endtest %}

{% test whole_intervals(model, key, valid_from='valid_from', valid_to='valid_to', is_current='is_current') %}
-- versions of a thing: no overlap, no turned interval, the current one is the last and is open
select {{ key }}, {{ valid_from }}, {{ valid_to }}, next_from
from (
    select
        {{ key }}, {{ valid_from }}, {{ valid_to }}, {{ is_current }},
        lead({{ valid_from }}) over (partition by {{ key }} order by {{ valid_from }}) as next_from
    from {{ model }}
) as followed
where {{ valid_to }} <= {{ valid_from }}
    or next_from < {{ valid_to }}
    or (next_from is not null and {{ valid_to }} is null)
    or {{ is_current }} <> ({{ valid_to }} is null)
{% endtest %}
