-- Versions of a thing as intervals (slowly changing dimension, type 2).

{% macro versions(relation, key, at, columns, deleted=none, only=none) %}
  {#-
    One row per version of a thing: half-open [valid_from, valid_to), the last one open.

    relation: one row per message; with `_commit`, `_partition`, `_offset` that say in which order they landed.
    key, at:  what the thing is, and when a version of it began.
    columns:  what else a version says.
    deleted:  a boolean column; such a message ends the version before it and is no version itself.
    only:     a condition on the key: versions of these things only. Said here, it is met before messages are put in order; a condition
              on the result is met after all have been.

    The order of arrival does not matter, but for one thing: of two messages with the same instant the later one landed counts.
  -#}
  select
      {{ key }},
      {% for column in columns %}{{ column }},
      {% endfor -%}
      {{ at }} as valid_from,
      next_at as valid_to,
      next_at is null as is_current,
      _commit
  from (
      select
          *,
          lead({{ at }}) over (partition by {{ key }} order by {{ at }}) as next_at
      from (
          select
              *,
              row_number() over (partition by {{ key }}, {{ at }} order by _commit desc, _partition desc, _offset desc) as rank_at
          from {{ relation }}
          {% if only %}where {{ only }}
          {% endif -%}
      ) as ranked
      where rank_at = 1
  ) as followed
  {% if deleted %}where not coalesce({{ deleted }}, false){% endif %}
{% endmacro %}
