"""Pages that follow a job, or an action on many, as an operator sees them."""

import re

import pytest
from playwright.sync_api import Page, expect

from tasks.bulk import runner
from tasks.models import BulkAction, Job
from tasks.state import lifecycle
from tests.support.chromium import is_too_wide
from tests.support.jobs import many_jobs, new_job

pytestmark = pytest.mark.django_db(transaction=True)

HIDE = """(isHidden) => {
    Object.defineProperty(document, "hidden", {value: isHidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def open_job(browse, user, job: Job, **how: object) -> Page:
    page: Page = browse(user, f"/admin/tasks/job/{job.pk}/change/", **how)
    return page


def run(job: Job) -> Job:
    claimed = lifecycle.claim(job.pk, "worker@here:1")
    assert claimed is not None
    return claimed


def status(page: Page):
    return page.locator(".jp-head .pp-badge")


def test_a_jobs_page_follows_it_to_its_end_and_then_stands_still(browse, admin_user):
    job = new_job("AAPL")
    page = open_job(browse, admin_user, job)
    expect(status(page)).to_have_text("pending")
    claimed = run(job)
    expect(status(page)).to_have_text("running")
    lifecycle.complete(claimed, Job.Outcome.UNCHANGED, {"reason": "nothing new"})
    expect(status(page)).to_have_text("completed")
    expect(page.get_by_role("link", name="Rerun")).to_be_visible()  # the whole page has come anew
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    expect(page.get_by_text("nothing new").first).to_be_visible()


def test_what_was_opened_stays_open(browse, admin_user):
    job = new_job("AAPL")
    page = open_job(browse, admin_user, job)
    expect(page.locator("#jp-parameters pre")).to_be_visible()
    page.locator("#jp-parameters summary").click()
    page.locator("#jp-mqtt-1 summary").click()
    page.locator("body").click(position={"x": 5, "y": 5})
    run(job)
    expect(status(page)).to_have_text("running")
    expect(page.locator("#jp-mqtt-1 ul")).to_be_visible()
    expect(page.locator("#jp-parameters pre")).to_be_hidden()


def test_it_is_not_asked_for_while_it_is_paused_or_nobody_sees_it(browse, admin_user):
    job = new_job("AAPL")
    page = open_job(browse, admin_user, job)
    for stop, go_on in (
        (
            lambda: page.get_by_role("button", name="Pause").click(),
            lambda: page.get_by_role("button", name="Resume").click(),
        ),
        (lambda: page.evaluate(HIDE, True), lambda: page.evaluate(HIDE, False)),
    ):
        stop()
        with pytest.raises(Exception, match="Timeout"), page.expect_response("**/part/", timeout=5000):
            pass  # longer than between two looks
        with page.expect_response("**/part/"):
            go_on()


def test_an_action_on_many_is_followed_and_stopped(browse, admin_user, monkeypatch):
    monkeypatch.setattr(runner, "JOBS_PER_BATCH", 2)
    monkeypatch.setattr(runner, "SLICE", -1)
    many_jobs(6)
    action, _ = runner.begin(BulkAction.Kind.CANCEL, "status__exact=pending", admin_user, 6)
    page = browse(admin_user, f"/admin/tasks/bulkaction/{action.pk}/change/")
    expect(page.get_by_text("Processed 0 of 6 jobs", exact=True)).to_be_visible()
    runner.work(action.pk)
    expect(page.get_by_text("Processed 2 of 6 jobs", exact=True)).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped. Changes so far are kept.")).to_be_visible()
    expect(page.get_by_text("stopped by admin")).to_be_visible()
    assert Job.objects.filter(status="pending").count() == 4


def test_all_that_match_are_chosen_confirmed_and_led_to(browse, admin_user):
    many_jobs(3, "failed")
    many_jobs(101)
    page = browse(admin_user, "/admin/tasks/job/?status__exact=pending")
    page.locator("#action-toggle").check()
    page.get_by_role("link", name=re.compile("Select all")).click()
    page.locator("select[name=action]").select_option("cancel_jobs")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("This applies to 101 jobs that match:")).to_be_visible()
    expect(page.get_by_text("status is pending")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("queued for 101 jobs.")).to_be_visible()
    page.get_by_role("link", name="Follow its progress").click()
    expect(page.get_by_text("Processed 0 of 101 jobs", exact=True)).to_be_visible()


@pytest.mark.parametrize("dark", [False, True])
def test_the_pages_fit_a_phone_in_light_and_in_dark(browse, admin_user, dark):
    job = new_job("AAPL", error="no_such_host_" * 40)
    run(job)
    action, _ = runner.begin(BulkAction.Kind.CANCEL, f"q={'A' * 300}", admin_user, 6)
    for path in (f"job/{job.pk}", f"bulkaction/{action.pk}"):
        page = browse(admin_user, f"/admin/tasks/{path}/change/", width=360, dark=dark)
        expect(page.get_by_text("Refreshed every 2 seconds.")).to_be_visible()
        assert not is_too_wide(page)
        colours = re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
        assert (sum(map(int, colours)) < 3 * 128) == dark
