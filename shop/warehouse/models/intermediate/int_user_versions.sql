-- One row per version of a user, with the interval in which it was true.
{{ user_versions() }}
