-- One row per day and event type.
select
    event_date,
    event_type,
    cast(sum(events) as bigint) as events
from {{ ref('int_event_aggregates') }}
group by event_date, event_type
