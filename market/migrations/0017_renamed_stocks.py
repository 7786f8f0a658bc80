import market.symbols
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('market', '0016_bar_decisions'),
    ]

    operations = [
        migrations.AddField(
            model_name='stock',
            name='renamed_to',
            field=market.symbols.SymbolField(blank=True, db_default='', default='', editable=False, help_text="The only other symbol that a source lists under the stock's name.", max_length=32),
        ),
        migrations.AddField(
            model_name='stock',
            name='searched_on',
            field=models.DateField(blank=True, editable=False, help_text='Last day on which a source was asked for a new symbol.', null=True),
        ),
    ]
