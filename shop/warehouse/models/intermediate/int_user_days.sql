-- One row per user and day on which the user did something, with the commit that told it first. Narrow, and rows are only ever added.
{{ config(
    materialized='iceberg' if target.type == 'duckdb' else 'incremental',
    unique_key=['event_date', 'user_id'],
    landed_by='raw_events',
) }}
with landed as (
    select event_date, user_id, min(_commit) as _commit
    from {{ ref('stg_events') }}
    {% if frazil.incremental() %}
    where _commit > {{ frazil.after('raw_events') }}
    {% endif %}
    group by event_date, user_id
)
select event_date, user_id, _commit
from landed
{% if frazil.incremental() %}
where not exists (
    select 1 from {{ this }} as known where known.event_date = landed.event_date and known.user_id = landed.user_id
)
{% endif %}
