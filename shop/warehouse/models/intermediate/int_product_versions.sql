-- One row per version of a product, with the interval in which it was true.
{{ product_versions() }}
