import os
from pathlib import Path

SECRET_KEY = "of an example"
DEBUG = True
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["shop"]
ROOT_URLCONF = "shop.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(__file__).parent.parent / "shop.sqlite3",
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

DOCKET_NAME = "shop"
DOCKET_URL = os.environ.get("DOCKET_URL", "redis://localhost:6379/0")
