-- One row per version of a product, with the interval in which it was true.
{{ frazil.versions(ref('stg_products'), 'product_id', 'updated_at', ['product_name', 'category', 'price']) }}
