-- One row per landed message about a product: each is a version of that product.
select
    product_id,
    name as product_name,
    category,
    price,
    updated_at,
    _received_at as received_at,
    _partition,
    _offset,
    _commit
from {{ source('lake', 'raw_products') }}
