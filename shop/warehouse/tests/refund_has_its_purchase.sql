-- A refund comes after a purchase by the same user. A warning: the purchase may be late, or be a dead letter.
{{ config(severity='warn') }}
with bought as (
    select user_id, min(event_timestamp) as first_purchase_at
    from {{ ref('fact_events') }}
    where event_type = 'purchase'
    group by user_id
)
select refunds.event_sk, refunds.user_id, refunds.event_timestamp
from {{ ref('fact_events') }} as refunds
left join bought on bought.user_id = refunds.user_id
where refunds.event_type = 'refund'
    and (bought.first_purchase_at is null or bought.first_purchase_at > refunds.event_timestamp)
