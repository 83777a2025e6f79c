-- No event lies before the first version of its user. A warning: the version may be late.
{{ config(severity='warn') }}
select facts.event_sk, facts.user_id, facts.event_timestamp
from {{ ref('fact_events') }} as facts
join (
    select user_id, min(valid_from) as first_version_at from {{ ref('dim_users') }} group by user_id
) as users on users.user_id = facts.user_id
where facts.event_timestamp < users.first_version_at
