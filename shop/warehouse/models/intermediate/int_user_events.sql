-- One row per event, with the versions of its user and its product that were true when it happened.
select
    {{ frazil.hash_key(['events.event_id']) }} as event_sk,
    coalesce(users.user_sk, {{ frazil.unknown_key() }}) as user_sk,
    coalesce(products.product_sk, {{ frazil.unknown_key() }}) as product_sk,
    events.event_id,
    events.user_id,
    events.product_id,
    events.session_id,
    events.event_timestamp,
    events.event_date,
    events.event_type,
    events.event_value,
    events.currency,
    events.quantity,
    events._commit
from {{ ref('stg_events') }} as events
left join {{ ref('dim_users') }} as users
    on users.user_id = events.user_id
    and users.valid_from <= events.event_timestamp
    and (users.valid_to is null or events.event_timestamp < users.valid_to)
left join {{ ref('dim_products') }} as products
    on products.product_id = events.product_id
    and products.valid_from <= events.event_timestamp
    and (products.valid_to is null or events.event_timestamp < products.valid_to)
