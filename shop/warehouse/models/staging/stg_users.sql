-- One row per landed message about a user: each is a version of that user.
select
    user_id,
    user_name,
    email,
    country,
    created_at,
    updated_at,
    coalesce(deleted, false) as deleted,
    _received_at as received_at,
    _partition,
    _offset,
    _commit
from {{ source('lake', 'raw_users') }}
