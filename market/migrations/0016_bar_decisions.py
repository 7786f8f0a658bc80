import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('market', '0015_suspicious_bars'),
    ]

    operations = [
        migrations.CreateModel(
            name='BarDecision',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('date', models.DateField(help_text='Calendar day at the exchange.')),
                ('kind', models.CharField(choices=[('accepted', 'Accepted'), ('locked', 'Locked'), ('deleted', 'Deleted')], max_length=10)),
                ('decided_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('decided_by', models.CharField(blank=True, help_text='User name.', max_length=150)),
                ('before', models.JSONField(default=dict, help_text='Values of the bar before the decision.')),
                ('stock', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='bar_decisions', to='market.stock')),
            ],
            options={
                'ordering': ['-decided_at', '-id'],
                'permissions': [('decide_bar', 'Can accept, correct, lock and delete bars')],
                'constraints': [models.UniqueConstraint(fields=('stock', 'date'), name='one_decision_a_bar')],
            },
        ),
    ]
