from django.db import migrations

CREATE = """
CREATE FUNCTION stockqueue_notify_outbox() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('stockqueue_outbox', ''); RETURN NULL; END $$;
CREATE TRIGGER stockqueue_notify_outbox AFTER INSERT ON tasks_jobevent
FOR EACH STATEMENT EXECUTE FUNCTION stockqueue_notify_outbox();
"""
DROP = """
DROP TRIGGER stockqueue_notify_outbox ON tasks_jobevent;
DROP FUNCTION stockqueue_notify_outbox();
"""


def create(apps, schema_editor):
    """Create a trigger in the database, so that events of all writers wake the bridge."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP)


class Migration(migrations.Migration):
    dependencies = [("mqtt_bridge", "0001_bridge_lease"), ("tasks", "0001_initial")]

    operations = [migrations.RunPython(create, drop)]
