import gc
import os

import django
from django.core.handlers.wsgi import WSGIHandler

from stockqueue.demo_users import refuse_demo_users

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stockqueue.settings")

django.setup(set_prefix=False)
refuse_demo_users()
application = WSGIHandler()

# What is loaded by now stays for ever. Looking through all of it for garbage took 80 ms of one login in thirty.
gc.collect()
gc.freeze()
