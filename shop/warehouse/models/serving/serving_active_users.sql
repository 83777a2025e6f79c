-- One row per day. New events add the users that a day has not seen yet.
{{ config(unique_key='event_date') }}
{% if frazil.incremental() %}
with landed as (
    select distinct event_date, user_id
    from {{ ref('fact_events') }}
    where _commit > {{ frazil.after('raw_events') }}
),
added as (
    select event_date, count(*) as active_users
    from landed
    where not exists (
        select 1
        from {{ ref('fact_events') }} as facts
        where facts.event_date = landed.event_date and facts.user_id = landed.user_id and facts._commit <= {{ frazil.after('raw_events') }}
    )
    group by event_date
)
select added.event_date, added.active_users + coalesce(known.active_users, 0) as active_users
from added
left join {{ this }} as known on known.event_date = added.event_date
{% else %}
select event_date, count(distinct user_id) as active_users
from {{ ref('fact_events') }}
group by event_date
{% endif %}
