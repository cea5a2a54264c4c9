"""Which cameras are answered otherwise from this commit on.

Replicas remember that a camera has nothing to do. Each camera belongs to one of a fixed number of buckets; a transaction that
gives a camera something to do counts its bucket's epoch up, and replicas that see another epoch forget that bucket. A number
that is read back, unlike a log of changes, cannot be missed by whoever reads while others commit out of order.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import event, select, update
from sqlalchemy.orm import Session

from services.fleet.polling.models import Epoch

BUCKETS: Final = 1024
_TOUCHED: Final = "touched_cameras"


def bucket_of(camera_id: str) -> int:
    """Of a UUIDv7, whose last digits are random."""
    return int(camera_id[-4:], 16) % BUCKETS


def touch(session: Session, camera_ids: Iterable[str]) -> None:
    """These cameras may be answered otherwise once this transaction has committed."""
    _touch(session, map(bucket_of, camera_ids))


def touch_all(session: Session) -> None:
    """As ``touch``, of every camera: for so many that hardly a bucket has none of them."""
    _touch(session, range(BUCKETS))


def _touch(session: Session, buckets: Iterable[int]) -> None:
    touched: set[int] = session.info.setdefault(_TOUCHED, set())
    if not event.contains(session, "before_commit", _count_up):
        event.listen(session, "before_commit", _count_up)
    touched.update(buckets)


def _count_up(session: Session) -> None:
    if session.in_nested_transaction():
        return  # a savepoint's end: one round it may still be rolled back, and would take the count along
    # Last of all and in order: of two transactions that touch the same buckets one waits for the other, and neither forever.
    buckets = sorted(session.info.pop(_TOUCHED, ()))
    if not buckets:
        return
    mine = select(Epoch.bucket).where(Epoch.bucket.in_(buckets)).order_by(Epoch.bucket).with_for_update()
    session.execute(mine)
    counted = update(Epoch).where(Epoch.bucket.in_(buckets)).values(epoch=Epoch.epoch + 1)
    session.execute(counted, execution_options={"synchronize_session": False})
