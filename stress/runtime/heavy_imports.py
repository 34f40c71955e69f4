"""A module of tasks that imports something heavy: SQLAlchemy, as many services do."""

import sqlalchemy.dialects.postgresql
import sqlalchemy.dialects.sqlite
import sqlalchemy.orm

#: The imports, so that they are used.
IMPORTED = (sqlalchemy.orm, sqlalchemy.dialects.postgresql, sqlalchemy.dialects.sqlite)

nothing: list[object] = []
