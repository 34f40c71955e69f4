"""Tasks that import something heavy: SQLAlchemy, as the tasks of many services do."""

import sqlalchemy.dialects.postgresql
import sqlalchemy.dialects.sqlite
import sqlalchemy.orm

#: What was imported, so that it is used.
IMPORTED = (sqlalchemy.orm, sqlalchemy.dialects.postgresql, sqlalchemy.dialects.sqlite)

nothing: list[object] = []
