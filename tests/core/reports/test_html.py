import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from nodelens.channels.graph_record import write_graph
from nodelens.channels.groups import ChannelGraph, ChannelGroup
from nodelens.findings.finding import Bars, Finding, Line, LinePlot, Table
from nodelens.interfaces.report import Report
from nodelens.reports.html import HtmlReport
from nodelens.scoring.scores import Score, Scores
from nodelens.storage.run_folder import RunFolder
from nodelens.storage.run_record import GitState, PluginRecordEntry, StageRecord

EVIL = "<script>alert('x')</script>\"&"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The elements, attributes and text of a page; tags that do not match are an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def values(self, name):
        return [value for _, attribute, value in self.attributes if attribute == name]


def page(run, **options):
    HtmlReport(**options or {"formats": ()}).write(run)
    return Page(run.read_text("report.html"))


def test_every_file_is_written_and_returned(run):
    files = HtmlReport().write(run)
    names = {path.relative_to(run.path).as_posix() for path in files}
    assert all(path.is_file() for path in files)
    assert {
        "report.html",
        "figures/training.train.loss.svg",
        "figures/training.train.loss.png",
        "figures/training.train.loss.pdf",
        "tables/pruning.comparison.methods.csv",
        "tables/pruning.comparison.methods.tex",
    } <= names


def test_formats_choose_the_figure_files(run):
    HtmlReport(formats=("png",)).write(run)
    assert {path.suffix for path in run.file("figures").iterdir()} == {".png"}


def test_writing_again_gives_the_same_page(run):
    page(run)
    before = run.read_text("report.html")
    page(run)
    assert run.read_text("report.html") == before


def test_the_page_asks_the_network_for_nothing(run):
    shown = page(run)
    for name in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
        assert all(value.startswith(("#", "data:")) for value in shown.values(name))
    source = run.read_text("report.html")
    assert "http://" not in source
    assert "https://" not in source
    assert "@import" not in source
    assert not re.search(r"url\((?!#)", source)


def test_the_policy_allows_the_one_script_by_its_hash(run):
    page(run)
    source = run.read_text("report.html")
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', source)[1]
    assert policy == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_ids_are_unique_and_links_lead_somewhere(run):
    shown = page(run)
    ids = shown.values("id")
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in shown.values("href") if value.startswith("#")} <= set(ids)


def test_everything_of_the_run_is_on_the_page(run):
    text = page(run).text
    for part in (
        "The model was trained for 10 epochs; epoch 9 was kept.",
        "3 warnings",
        "Metric synergy failed and has no scores",
        "0.9722 ± 0.0087",
        "Figure 5. How well each metric predicts the loss change.",
        "Accuracy by class",
        "All pairs 45 rows",
        "From 1024 calibration samples",
        "redundancy nats; low values mark nodes worth keeping",
        "defined for convolutions only",
        "nodelens run configs/digits.yaml",
        "4f2a9c1, with uncommitted changes",
        "No module named 'transformers'",
        "model output",
        "model: {name: cnn, channels: [16, 32]}",
    ):
        assert part in text


def test_summary_stands_first_then_figures_then_sections(run):
    ids = [value for value in page(run).values("id") if not value.startswith("figure-")]
    assert ids[:3] == ["summary", "figures", "finding-1"]
    assert ids[-2:] == ["scores", "run"]


def test_long_tables_are_folded_with_all_rows(run):
    run.write_finding(
        Finding(
            "analysis", "x", "X", tables=(Table("t", "T", ("n",), tuple((n,) for n in range(31))),)
        )
    )
    page(run)
    source = run.read_text("report.html")
    folded = re.search(r"<summary>T .*?</details>", source, re.DOTALL)[0]
    assert folded.count("<td") == 31


def test_a_table_that_is_cut_says_where_the_rest_is(tmp_path):
    run = RunFolder.create(tmp_path, "x")
    rows = tuple((number,) for number in range(2100))
    run.write_finding(Finding("analysis", "x", "X", tables=(Table("t", "T", ("n",), rows),)))
    text = page(run).text
    assert "The first 2000 of 2100 rows; tables/analysis.x.t.csv has all." in text
    assert len(run.read_text("tables/analysis.x.t.csv").splitlines()) == 2101


def evil_run(root):
    run = RunFolder.create(root, EVIL)
    line = Line(EVIL, (0.0, 1.0), (0.0, 1.0))
    plots = (
        LinePlot(EVIL, EVIL, EVIL, EVIL, (line, line), EVIL),
        Bars(EVIL, EVIL, EVIL, (EVIL,), (1,)),
    )
    table = Table(EVIL, EVIL, (EVIL, EVIL), ((EVIL, 1.0),), EVIL)
    run.write_finding(Finding(EVIL, EVIL, EVIL, (EVIL,), (EVIL,), (table,), plots, {EVIL: EVIL}))
    score = Score(EVIL, EVIL, np.arange(3.0), True, EVIL)
    Scores({(EVIL, EVIL): score}, {(EVIL, EVIL): EVIL}, {EVIL: EVIL}, 1).save(
        run.file("scores.safetensors")
    )
    run.write_text("config.yaml", EVIL)
    write_graph(run, ChannelGraph((ChannelGroup(EVIL, EVIL, 1, frozen=EVIL),)))
    run.update_record(
        error=EVIL,
        device=EVIL,
        command=EVIL,
        warnings=(EVIL,),
        summary={EVIL: 1},
        versions={EVIL: EVIL},
        components={EVIL: {EVIL: EVIL}},
        stages={EVIL: StageRecord("finished", 1.0)},
        plugins=(PluginRecordEntry(EVIL, EVIL, EVIL, EVIL, EVIL, {EVIL: (EVIL,)}),),
        git=GitState(EVIL, dirty=False),
    )
    return run


def test_whatever_a_user_or_plugin_names_is_text(tmp_path):
    run = evil_run(tmp_path)
    shown = page(run)
    assert shown.tags.count("script") == 1
    assert run.read_text("report.html").count("<script") == 1
    assert EVIL in shown.text
    assert not any(name.startswith("on") for _, name, _ in shown.attributes)
    assert all(path.is_relative_to(run.path) for path in run.path.rglob("*"))


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("failed", "This run failed. Below is what it had found until then."),
        ("interrupted", "This run was interrupted. Below is what it had found until then."),
        ("running", "This run had not ended when the report was written."),
    ],
)
def test_a_run_that_did_not_finish_says_so_at_the_top(tmp_path, status, sentence):
    run = RunFolder.create(tmp_path, "x")
    run.write_finding(Finding("analysis", "a", "A", headline=("A sentence.",)))
    run.update_record(status=status, error="CaptureError: site features.3 was silent")
    text = page(run).text
    assert (
        text.index(sentence) < text.index("site features.3 was silent") < text.index("A sentence.")
    )


def test_a_finished_run_has_no_banner(run):
    run.update_record(warnings=())
    assert "until then" not in page(run).text


def test_a_plot_that_cannot_be_drawn_becomes_a_warning(tmp_path):
    run = RunFolder.create(tmp_path, "x")
    wrong = LinePlot("p", "Uneven", "x", "y", (Line("a", (0.0, 1.0), (0.0,)),))
    right = Bars("b", "Even", "y", ("a",), (1.0,))
    run.write_finding(Finding("analysis", "a", "A", plots=(wrong, right)))
    text = page(run, formats=("svg",)).text
    assert "Uneven: cannot be drawn" in text
    assert "Figure 1. Even." in text
    assert [path.name for path in run.file("figures").iterdir()] == ["analysis.a.b.svg"]


def test_it_is_a_report():
    assert isinstance(HtmlReport(), Report)
