-- One row per product and currency, best first when ordered by revenue.
with sold as (
    select
        product_id,
        currency,
        cast(coalesce(sum(event_value), 0) as decimal(38, 4)) as revenue,
        count(*) as purchases,
        cast(coalesce(sum(quantity), 0) as bigint) as pieces
    from {{ ref('fact_events') }}
    where event_type = 'purchase' and product_id is not null
    group by product_id, currency
)
select
    sold.product_id,
    sold.currency,
    products.product_name,
    products.category,
    sold.revenue,
    sold.purchases,
    sold.pieces
from sold
left join {{ ref('dim_products') }} as products on products.product_id = sold.product_id and products.is_current
