-- One row per day and currency.
select
    event_date,
    currency,
    cast(sum(case when event_type = 'purchase' then total_value else 0 end) as decimal(38, 4)) as revenue,
    cast(sum(case when event_type = 'refund' then total_value else 0 end) as decimal(38, 4)) as refunds,
    cast(sum(case when event_type = 'purchase' then events else 0 end) as bigint) as purchases
from {{ ref('int_event_aggregates') }}
where event_type in ('purchase', 'refund')
group by event_date, currency
