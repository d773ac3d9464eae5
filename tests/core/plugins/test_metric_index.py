"""Metrics are found in the sources of a package, none of which is imported."""

import sys

import pytest

from nodelens.errors import PluginError
from nodelens.plugins.metric_index import metric_name, metrics_in
from nodelens.plugins.specs import MetricSpec

MODULE = '''"""Metrics."""
raise RuntimeError("imported")

SHARED = MetricInfo(formula="info = MetricInfo(", unit="1", higher_is_better=True)

@frozen
class MeanRMS:
    """The mean.

    More of it.
    """

    info = MetricInfo(
        formula="name",
        unit="1",
        higher_is_better=True,
    )
    name: str = "not_a_name"


@frozen
class Helper:
    """No metric."""

    name = "helper"


@frozen
class Brief:
    r"""In one line: a\\b."""

    info = MetricInfo(name="short", formula="a", unit="1", higher_is_better=None)
    statistics = (Moments(name="long"),)
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    def build(**modules):
        folder = tmp_path / "acme" / "sizes"
        folder.mkdir(parents=True)
        (tmp_path / "acme" / "__init__.py").touch()
        (folder / "__init__.py").touch()
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        return "acme.sizes"

    yield build
    for name in ("acme.sizes", "acme"):
        sys.modules.pop(name, None)


def test_a_metric_is_a_class_with_an_info(package):
    name = package(means=MODULE)
    assert metrics_in(name) == [
        MetricSpec("mean_rms", "acme.sizes.means:MeanRMS", "The mean.", "sizes"),
        MetricSpec("short", "acme.sizes.means:Brief", r"In one line: a\b.", "sizes"),
    ]
    assert "acme.sizes.means" not in sys.modules


OTHERWISE = {
    "a helper": "    info = _info('a', unit='1')\n",
    "a helper over lines": "    info = _info(\n        'a',\n        unit='1',\n    )\n",
    "a constant": "    info = SHARED\n",
    "a typed constant": "    info: ClassVar[MetricInfo] = SHARED\n",
    "an evolved one": "    info = evolve(Other.info, unit='1')\n",
    "a property": "    @property\n    def info(self):\n        return SHARED\n",
}
BODY = '''
@frozen
class MeanRMS:
    """The mean."""

{info}
    statistics = (Moments(),)

    def score(self, group):
        return group[Moments()].mean
'''


@pytest.mark.parametrize("made", OTHERWISE)
def test_an_info_that_is_made_otherwise_is_found(package, made):
    assert metrics_in(package(means=BODY.format(info=OTHERWISE[made]))) == [
        MetricSpec("mean_rms", "acme.sizes.means:MeanRMS", "The mean.", "sizes")
    ]


def test_a_name_that_a_helper_is_given_counts(package):
    text = BODY.format(info="    info = _info('a', name=\"short\")\n")
    assert [spec.name for spec in metrics_in(package(means=text))] == ["short"]


def test_a_metric_whose_info_is_not_in_its_class_is_an_error(package):
    name = package(means=BODY.format(info=""), others=MODULE)
    with pytest.raises(PluginError, match=r"means: MeanRMS has score and .* its info is not in"):
        metrics_in(name)


def test_a_base_class_of_metrics_is_none(package):
    name = package(means=BODY.format(info="").replace("MeanRMS", "_Base"), others=MODULE)
    assert [spec.name for spec in metrics_in(name)] == ["mean_rms", "short"]


def test_a_docstring_may_begin_on_the_next_line_and_an_info_have_a_type(package):
    text = MODULE.replace('"""The mean.', '"""\n    The mean.').replace(
        "    info = MetricInfo(\n", "    info: MetricInfo = MetricInfo(\n"
    )
    specs = metrics_in(package(means=text))
    assert (specs[0].name, specs[0].summary) == ("mean_rms", "The mean.")


def test_modules_are_read_in_the_order_of_their_names(package):
    name = package(b=MODULE, a=MODULE.replace("MeanRMS", "Other"))
    assert [spec.name for spec in metrics_in(name)] == ["other", "short", "mean_rms", "short"]


def test_a_package_without_a_metric_is_a_mistake(package):
    name = package(means="class Peak:\n    pass\n")
    message = r"no class in acme\.sizes has info = MetricInfo\(\.\.\.\)"
    with pytest.raises(PluginError, match=message):
        metrics_in(name)


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("ActivationRMS", "activation_rms"),
        ("WeightL1", "weight_l1"),
        ("FPGM", "fpgm"),
        ("BNScale", "bn_scale"),
        ("Taylor2016", "taylor_2016"),
        ("OInformation", "o_information"),
        ("FlapWIFV", "flap_wifv"),
    ],
)
def test_the_name_of_a_metric_is_that_of_its_class_in_words(class_name, name):
    assert metric_name(class_name) == name
