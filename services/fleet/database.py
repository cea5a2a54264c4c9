"""The base of the fleet service's tables: a metadata of their own, apart from the other services'."""

from typing import Final

from sqlalchemy import BigInteger, Integer, MetaData

from shared.kit.database import NAMING, Base

Serial: Final = BigInteger().with_variant(Integer, "sqlite")
"""Column type of numbers that the database gives: SQLite gives none but to INTEGER."""


class FleetBase(Base):
    """As ``Base``."""

    __abstract__ = True
    metadata = MetaData(naming_convention=NAMING)
