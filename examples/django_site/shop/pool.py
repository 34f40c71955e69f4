"""The tasks for `docket-supervisor --tasks shop.pool:tasks`: Django is set up before they load."""

import os

import django
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()

tasks = import_string("shop.jobs.tasks")
