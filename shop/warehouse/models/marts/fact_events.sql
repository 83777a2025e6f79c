-- One row per event. New ones are added; one whose user or product has another version now is put right.
-- depends_on: {{ ref('stg_users') }}
-- depends_on: {{ ref('stg_products') }}
-- depends_on: {{ ref('dim_users') }}
-- depends_on: {{ ref('dim_products') }}
{{ config(unique_key='event_sk', landed_by='raw_events', partition_by=['event_date']) }}
{% set new_users = frazil.first_new(ref('stg_users'), 'updated_at', 'raw_users') if frazil.incremental() else none %}
{% set new_products = frazil.first_new(ref('stg_products'), 'updated_at', 'raw_products') if frazil.incremental() else none %}
{% set put_right = new_users or new_products %}
with landed as (
    select * from {{ ref('int_user_events') }}
    {% if frazil.incremental() %}
    where _commit > {{ frazil.after('raw_events') }}
    {% endif %}
)
{% if put_right %}
-- facts whose user or product has a new version that may have been true then
, touched as (
    {% if new_users %}
    select facts.*
    from {{ this }} as facts
    join (
        select user_id, min(updated_at) as since from {{ ref('stg_users') }} where _commit > {{ frazil.after('raw_users') }} group by user_id
    ) as changed on changed.user_id = facts.user_id
    where facts.event_timestamp >= {{ new_users }} and facts.event_timestamp >= changed.since
    {% endif %}
    {% if new_users and new_products %}
    union
    {% endif %}
    {% if new_products %}
    select facts.*
    from {{ this }} as facts
    join (
        select product_id, min(updated_at) as since from {{ ref('stg_products') }} where _commit > {{ frazil.after('raw_products') }} group by product_id
    ) as changed on changed.product_id = facts.product_id
    where facts.event_timestamp >= {{ new_products }} and facts.event_timestamp >= changed.since
    {% endif %}
)
, placed as (
    select
        touched.event_sk,
        coalesce(users.user_sk, {{ frazil.unknown_key() }}) as user_sk,
        coalesce(products.product_sk, {{ frazil.unknown_key() }}) as product_sk,
        touched.user_sk as old_user_sk,
        touched.product_sk as old_product_sk,
        touched.event_id,
        touched.user_id,
        touched.product_id,
        touched.session_id,
        touched.event_timestamp,
        touched.event_type,
        touched.event_value,
        touched.currency,
        touched.quantity,
        touched.event_date,
        touched._commit
    from touched
    left join {{ ref('dim_users') }} as users
        on users.user_id = touched.user_id
        and users.valid_from <= touched.event_timestamp
        and (users.valid_to is null or touched.event_timestamp < users.valid_to)
    left join {{ ref('dim_products') }} as products
        on products.product_id = touched.product_id
        and products.valid_from <= touched.event_timestamp
        and (products.valid_to is null or touched.event_timestamp < products.valid_to)
)
{% endif %}
select
    event_sk, user_sk, product_sk, event_id, user_id, product_id, session_id, event_timestamp, event_type, event_value, currency, quantity, event_date, _commit
from landed
{% if put_right %}
union all
select
    event_sk, user_sk, product_sk, event_id, user_id, product_id, session_id, event_timestamp, event_type, event_value, currency, quantity, event_date, _commit
from placed
where user_sk <> old_user_sk or product_sk <> old_product_sk
{% endif %}
