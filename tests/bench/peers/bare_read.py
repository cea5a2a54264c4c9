"""The least that an answer from a database takes in Python: FastAPI, SQLAlchemy, Postgres, one row by its index."""

import os

from fastapi import FastAPI
from sqlalchemy import bindparam, column, select, table
from sqlalchemy.ext.asyncio import create_async_engine

engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=20, max_overflow=20)
devices = table("cameras", column("id"), column("controller_id"), column("deleted_at"))
found = select(devices.c.id).where(devices.c.controller_id == bindparam("name"), devices.c.deleted_at.is_(None))
app = FastAPI()


@app.get("/devices/{name}")
async def read_device(name: str) -> dict[str, str]:
    async with engine.connect() as connection:
        return {"id": (await connection.execute(found, {"name": name})).scalar_one()}
