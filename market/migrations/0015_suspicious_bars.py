from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('market', '0014_last_bar'),
    ]

    operations = [
        migrations.AddField(
            model_name='pricebar',
            name='is_suspicious',
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AddIndex(
            model_name='pricebar',
            index=models.Index(condition=models.Q(('is_suspicious', True)), fields=['stock', 'date'], name='suspicious_bars'),
        ),
    ]
