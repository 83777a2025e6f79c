-- One row per day, event type and currency. Sums and counts only, so that new events add to what is there.
{{ config(
    materialized='iceberg' if target.type == 'duckdb' else 'incremental',
    unique_key=['event_date', 'event_type', 'currency'],
) }}
with landed as (
    select
        event_date,
        event_type,
        currency,
        count(*) as events,
        cast(coalesce(sum(event_value), 0) as decimal(38, 4)) as total_value,
        cast(coalesce(sum(quantity), 0) as bigint) as quantity,
        min(event_timestamp) as first_event_at,
        max(event_timestamp) as last_event_at,
        max(_commit) as _commit
    from {{ ref('stg_events') }}
    {% if frazil.incremental() %}
    where _commit > {{ frazil.after('raw_events') }}
    {% endif %}
    group by event_date, event_type, currency
)
{% if frazil.incremental() %}
, known as (
    select * from landed
    union all
    select event_date, event_type, currency, events, total_value, quantity, first_event_at, last_event_at, _commit
    from {{ this }}
    where event_date in (select event_date from landed)
)
select
    event_date,
    event_type,
    currency,
    cast(sum(events) as bigint) as events,
    cast(sum(total_value) as decimal(38, 4)) as total_value,
    cast(sum(quantity) as bigint) as quantity,
    min(first_event_at) as first_event_at,
    max(last_event_at) as last_event_at,
    max(_commit) as _commit
from known
group by event_date, event_type, currency
{% else %}
select * from landed
{% endif %}
