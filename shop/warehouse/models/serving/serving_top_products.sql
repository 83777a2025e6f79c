-- One row per product and currency, best first when ordered by revenue. New sales add to what is there; a product with a new version is
-- named anew.
{{ config(unique_key=['product_id', 'currency']) }}
with sold as (
    select
        product_id,
        currency,
        cast(coalesce(sum(event_value), 0) as decimal(38, 4)) as revenue,
        count(*) as purchases,
        cast(coalesce(sum(quantity), 0) as bigint) as pieces
    from {{ ref('fact_events') }}
    where event_type = 'purchase' and product_id is not null
    {% if frazil.incremental() %}
        and _commit > {{ frazil.after('raw_events') }}
    {% endif %}
    group by product_id, currency
)
{% if frazil.incremental() %}
, known as (
    select * from sold
    union all
    select product_id, currency, revenue, purchases, pieces
    from {{ this }}
    where product_id in (select product_id from sold)
        or product_id in (select product_id from {{ ref('dim_products') }} where _commit > {{ frazil.after('raw_products') }})
)
, summed as (
    select
        product_id,
        currency,
        cast(sum(revenue) as decimal(38, 4)) as revenue,
        cast(sum(purchases) as bigint) as purchases,
        cast(sum(pieces) as bigint) as pieces
    from known
    group by product_id, currency
)
{% endif %}
select
    sales.product_id,
    sales.currency,
    products.product_name,
    products.category,
    sales.revenue,
    sales.purchases,
    sales.pieces
from {{ 'summed' if frazil.incremental() else 'sold' }} as sales
left join {{ ref('dim_products') }} as products on products.product_id = sales.product_id and products.is_current
