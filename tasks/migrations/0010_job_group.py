import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


def put_into_words(apps, schema_editor):
    for group in apps.get_model('tasks', 'JobGroup').objects.all():
        symbols = sorted(group.jobs.values_list('symbol', flat=True))
        stocks = ', '.join(symbols) if len(symbols) <= 3 else f'{len(symbols)} stocks'
        group.what = f'Backfill of {stocks}, {group.start} to {group.end}, {group.mode}'
        group.save(update_fields=['what'])


def delete_permissions(apps, schema_editor):
    """Delete the permissions for backfills: Django does not rename them, and job permissions replace them."""
    of_backfills = [f'{action}_backfill' for action in ('add', 'change', 'delete', 'view')]
    permissions = apps.get_model('auth', 'Permission').objects
    permissions.filter(content_type__app_label='tasks', codename__in=of_backfills).delete()


class Migration(migrations.Migration):

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
        ('tasks', '0009_indexes_for_metrics'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RenameModel('Backfill', 'JobGroup'),
        migrations.AlterField(
            model_name='jobgroup',
            name='jobs',
            field=models.ManyToManyField(related_name='groups', to='tasks.job'),
        ),
        migrations.AlterField(
            model_name='jobgroup',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='job_groups', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='jobgroup',
            name='what',
            field=models.CharField(default='', help_text='What was asked for, in words.', max_length=400),
            preserve_default=False,
        ),
        migrations.RunPython(put_into_words, migrations.RunPython.noop, elidable=True),
        migrations.RunPython(delete_permissions, migrations.RunPython.noop, elidable=True),
        migrations.RemoveField('jobgroup', 'start'),
        migrations.RemoveField('jobgroup', 'end'),
        migrations.RemoveField('jobgroup', 'mode'),
        migrations.RenameIndex('jobgroup', new_name='group_not_told', old_name='backfill_not_told'),
        migrations.AlterModelOptions(
            name='jobgroup',
            options={'default_permissions': (), 'ordering': ['-created_at']},
        ),
    ]
