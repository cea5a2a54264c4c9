from shared.contracts.jobs import Progress
from workers.harness.outbox import Outbox


def progress(done: int) -> Progress:
    return Progress(phase="train", done=done)


def test_nothing_said_is_nothing_to_report():
    assert Outbox(1).next_report() is None


def test_the_newest_progress_and_all_lines_are_kept():
    outbox = Outbox(7)
    for number in range(3):
        outbox.progress(progress(number))
        outbox.log(f"line {number}")
    outbox.run("run-1")
    report = outbox.next_report()
    assert report is not None
    assert (report.token, report.report_no, report.mlflow_run_id) == (7, 1, "run-1")
    assert report.progress == progress(2)
    assert [line.message for line in report.logs] == ["line 0", "line 1", "line 2"]


def test_a_report_without_an_answer_is_repeated_under_its_number():
    outbox = Outbox(1)
    outbox.log("first")
    first = outbox.next_report()
    outbox.log("second")
    assert outbox.next_report() == first
    outbox.acknowledge()
    second = outbox.next_report()
    assert second is not None
    assert second.report_no == 2
    assert [line.message for line in second.logs] == ["second"]
    outbox.acknowledge()
    assert outbox.next_report() is None


def test_a_long_outage_drops_the_oldest_lines_and_says_so():
    outbox = Outbox(1, line_limit=3)
    for number in range(5):
        outbox.log(f"line {number}")
    report = outbox.next_report()
    assert report is not None
    assert [line.message for line in report.logs][1:] == ["line 2", "line 3", "line 4"]
    assert report.logs[0].message.startswith("2 log lines were dropped")


def test_a_report_stays_within_the_protocols_limits():
    outbox = Outbox(1)
    for _ in range(1200):
        outbox.log("x" * 10_000)
    report = outbox.next_report()
    assert report is not None
    assert len(report.logs) <= 1000
    assert all(len(line.message) <= 8192 for line in report.logs)
