-- Facts hold every staged event once: as many rows, as many keys.
select staged.events as staged, facts.events as facts, facts.keys as distinct_keys
from (select count(*) as events from {{ ref('stg_events') }}) as staged
cross join (select count(*) as events, count(distinct event_sk) as keys from {{ ref('fact_events') }}) as facts
where staged.events <> facts.events or facts.events <> facts.keys
