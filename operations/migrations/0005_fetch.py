from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('operations', '0004_ends_of_groups'),
        ('tasks', '0010_job_group'),
    ]

    operations = [
        migrations.CreateModel(
            name='Fetch',
            fields=[
            ],
            options={
                'verbose_name': 'fetch',
                'verbose_name_plural': 'fetch',
                'proxy': True,
                'default_permissions': (),
                'indexes': [],
                'constraints': [],
            },
            bases=('tasks.job',),
        ),
    ]
