-- One row per landed event. Names and types for people; nothing is left out.
select
    {{ frazil.text('event_id') }} as event_id,
    event_type,
    user_id,
    session_id,
    {{ adapter.quote('timestamp') }} as event_timestamp,
    event_date,
    event_hour,
    value as event_value,
    currency,
    {{ frazil.text(frazil.member('properties', 'product_id')) }} as product_id,
    {{ frazil.member('properties', 'price') }} as price,
    {{ frazil.member('properties', 'quantity') }} as quantity,
    {{ frazil.text(frazil.member('properties', 'url')) }} as url,
    {{ frazil.text(frazil.member('context', 'country')) }} as country,
    _received_at as received_at,
    _partition,
    _offset,
    _commit
from {{ source('lake', 'raw_events') }}
