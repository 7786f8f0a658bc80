from django.db import migrations


def rename_schedule(apps, schema_editor):
    """The task is about all groups of jobs now, and not about backfills alone."""
    schedules = apps.get_model('django_celery_beat', 'PeriodicTask').objects.filter(task='stockqueue.tell_ended_backfills')
    schedules.filter(name='Mails about backfills').update(name='Mails about ends')
    schedules.update(
        task='stockqueue.tell_ended_groups',
        description='Mails those who asked for what took long and has ended.',
    )


class Migration(migrations.Migration):

    dependencies = [
        ('django_celery_beat', '0019_alter_periodictasks_options'),
        ('operations', '0003_reading'),
    ]

    operations = [migrations.RunPython(rename_schedule, migrations.RunPython.noop, elidable=True)]
