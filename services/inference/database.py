"""The base of the inference service's tables: a metadata of their own, apart from the jobs service's."""

from sqlalchemy import MetaData

from shared.kit.database import NAMING, Base


class InferenceBase(Base):
    """As ``Base``."""

    __abstract__ = True
    metadata = MetaData(naming_convention=NAMING)
