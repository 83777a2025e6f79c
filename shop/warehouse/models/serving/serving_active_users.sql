-- One row per day. Days with new events are counted again.
{{ config(unique_key='event_date') }}
select
    event_date,
    count(distinct user_id) as active_users
from {{ ref('fact_events') }}
{% if frazil.incremental() %}
where event_date in (select event_date from {{ ref('fact_events') }} where _commit > {{ frazil.after('raw_events') }})
{% endif %}
group by event_date
