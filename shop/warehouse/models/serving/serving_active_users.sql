-- One row per day. Users whom a day has not seen yet add to what is there.
{{ config(unique_key='event_date') }}
with added as (
    select event_date, count(*) as active_users
    from {{ ref('int_user_days') }}
    {% if frazil.incremental() %}
    where _commit > {{ frazil.after('raw_events') }}
    {% endif %}
    group by event_date
)
{% if frazil.incremental() %}
select added.event_date, added.active_users + coalesce(known.active_users, 0) as active_users
from added
left join {{ this }} as known on known.event_date = added.event_date
{% else %}
select event_date, active_users from added
{% endif %}
