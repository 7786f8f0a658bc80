from django.db.backends.sqlite3 import base, features


class DatabaseFeatures(features.DatabaseFeatures):
    # SQLite allows 32,766 parameters a statement since 3.32 (https://sqlite.org/limits.html). Django 5.2 assumes 999,
    # and would split an INSERT of 100 jobs into several.
    max_query_params = 32_766
    # Django would find out by a query in a transaction, which is a writing one here, in each new connection.
    supports_json_field = True


class DatabaseWrapper(base.DatabaseWrapper):
    features_class = DatabaseFeatures
