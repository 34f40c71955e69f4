"""Tasks of a module that configures logging at its import, as many do."""

import logging
import logging.config
import os

logging.config.dictConfig(
    {
        "version": 1,
        "formatters": {"own": {"format": "OWN %(message)s"}},
        "handlers": {
            "screen": {"class": "logging.StreamHandler", "formatter": "own"},
            "file": {
                "class": "logging.FileHandler",
                "filename": os.environ["CONFIGURED_LOG"],
                "formatter": "own",
            },
        },
        "loggers": {"quiet": {"level": "ERROR"}},
        "root": {"level": "ERROR", "handlers": ["screen", "file"]},
    }
)


async def speak() -> None:
    logging.getLogger("quiet").info("below the level of its logger")
    logging.getLogger("loud").info("spoken")


tasks = [speak]
