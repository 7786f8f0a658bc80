from decimal import Decimal

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('portfolio', '0006_login'),
    ]

    operations = [
        migrations.AlterField(
            model_name='holding',
            name='buy_price',
            field=models.DecimalField(blank=True, decimal_places=8, help_text="Price paid for one share, in the stock's currency; empty if unknown.", max_digits=22, null=True, validators=[django.core.validators.MinValueValidator(Decimal('0'))]),
        ),
        migrations.AlterField(
            model_name='holding',
            name='shares',
            field=models.DecimalField(decimal_places=8, max_digits=22, validators=[django.core.validators.MinValueValidator(Decimal('1E-8'))]),
        ),
    ]
