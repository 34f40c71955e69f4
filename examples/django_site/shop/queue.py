"""The docket of the site, for code without an event loop."""

from django.conf import settings
from docket import Docket

# Nothing is opened here: the first call does that, in the process that serves requests.
orders = Docket(name=settings.DOCKET_NAME, url=settings.DOCKET_URL).sync()
