-- One row per version of a user, with the interval in which it was true.
{{ frazil.versions(ref('stg_users'), 'user_id', 'updated_at', ['user_name', 'email', 'country', 'created_at'], deleted='deleted') }}
