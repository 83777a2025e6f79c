-- One row per version of a user, and the unknown member. All versions of a user are replaced when one of them lands.
-- depends_on: {{ ref('stg_users') }}
-- depends_on: {{ ref('int_user_versions') }}
{{ config(unique_key='user_id', keys_from={'view': 'stg_users', 'raw': 'raw_users'}) }}
with versions as (
    {% if frazil.incremental() %}
    {{ user_versions(only="user_id in (select user_id from " ~ ref('stg_users') ~ ' where _commit > ' ~ frazil.after('raw_users') ~ ')') }}
    {% else %}
    select * from {{ ref('int_user_versions') }}
    {% endif %}
)
select
    {{ frazil.hash_key([frazil.epoch_us('valid_from'), 'user_id']) }} as user_sk,
    user_id,
    user_name,
    email,
    country,
    created_at,
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
    {{ dbt.cast('null', dbt.type_string()) }},
    {{ frazil.no_instant() }},
    {{ frazil.instant('1900-01-01') }},
    {{ frazil.no_instant() }},
    true,
    0
{% endif %}
