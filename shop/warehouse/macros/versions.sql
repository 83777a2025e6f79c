-- What a version of a user or a product says. `only`: a condition on whom or what; see `frazil.versions`.
{% macro user_versions(only=none) %}
  {{ return(frazil.versions(ref('stg_users'), 'user_id', 'updated_at', ['user_name', 'email', 'country', 'created_at'], deleted='deleted', only=only)) }}
{% endmacro %}

{% macro product_versions(only=none) %}
  {{ return(frazil.versions(ref('stg_products'), 'product_id', 'updated_at', ['product_name', 'category', 'price'], only=only)) }}
{% endmacro %}
