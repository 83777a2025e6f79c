-- One row per version of a product, and the unknown member. All versions of a product are replaced when one of them lands.
-- depends_on: {{ ref('stg_products') }}
-- depends_on: {{ ref('int_product_versions') }}
{{ config(unique_key='product_id', keys_from={'view': 'stg_products', 'raw': 'raw_products'}) }}
with versions as (
    {% if frazil.incremental() %}
    {{ product_versions(only="product_id in (select product_id from " ~ ref('stg_products') ~ ' where _commit > ' ~ frazil.after('raw_products') ~ ')') }}
    {% else %}
    select * from {{ ref('int_product_versions') }}
    {% endif %}
)
select
    {{ frazil.hash_key([frazil.epoch_us('valid_from'), 'product_id']) }} as product_sk,
    product_id,
    product_name,
    category,
    price,
    valid_from,
    valid_to,
    is_current,
    _commit
from versions
{% if not frazil.incremental() %}
union all
select
    {{ frazil.unknown_key() }},
    {{ dbt.cast('null', dbt.type_string()) }},
    'unknown',
    {{ dbt.cast('null', dbt.type_string()) }},
    cast(null as decimal(18, 4)),
    {{ frazil.instant('1900-01-01') }},
    {{ frazil.no_instant() }},
    true,
    0
{% endif %}
