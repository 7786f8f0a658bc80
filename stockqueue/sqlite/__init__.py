"""Django's SQLite backend with the parameter limit that SQLite really has."""
