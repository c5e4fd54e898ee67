from __future__ import annotations

import base64
import copy
import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from membrane.core.errors import StoreError
from membrane.report import to_html
from tests.report.example import example
from tests.report.reading import Page, says

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)></svg>$x_{ {{ 7 * 7 }} \ud800 — 名前"


def html_of(results: dict[str, Any], folder: Path) -> str:
    return to_html(results, folder / "page.html", png=False).read_text("utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return html_of(example(), tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page.of(html)


def row_with(page: Page, *words: str) -> str:
    """The text of all rows that hold every word."""
    found = [row for row in page.rows if all(word in row for word in words)]
    assert found, words
    return " | ".join(found)


def assert_says(text: str, *values: float | None) -> None:
    for value in values:
        assert value is not None
        assert says(text, value), (value, text[:300])


def test_accuracies_appear_with_n_and_interval(page: Page) -> None:
    for entry in example()["entries"]:
        for rate in (entry["accuracy"]["test"], entry["accuracy"]["train"]):
            row = row_with(page, entry["label"], "needs at least")
            assert_says(row, 100 * rate["value"], 100 * rate["low"], 100 * rate["high"], rate["n"], rate["successes"])
        assert_says(row, 100 * entry["accuracy"]["gap"])


def test_every_attack_on_every_slice_appears_with_n_and_interval(page: Page) -> None:
    shown = {"lira": "LiRA", "lira_offline": "LiRA offline", "rmia": "RMIA"}
    for entry in example()["entries"]:
        for slice_name, part in entry["slices"].items():
            for name, attack in part["attacks"].items():
                words = entry["label"], slice_name, f" {shown.get(name, name)} "
                row = row_with(page, *words, *(["(strongest)"] if name == part["strongest"] else []))
                auc = attack["auc"]
                assert_says(row, auc["value"], auc["low"], auc["high"], part["n_members"], part["n_non_members"])
                for rate in attack["tpr"]:
                    if "refused" in rate:
                        assert "not resolvable" in row
                        assert rate["refused"] in row
                    else:
                        assert_says(row, 100 * rate["value"], 100 * rate["low"], 100 * rate["high"])
                        assert_says(row, rate["n"], rate["successes"])


def test_the_interval_note_is_a_footnote(page: Page) -> None:
    assert "too few models to cluster: 8 < 16" in page.text


def test_comparisons_appear_with_interval(page: Page) -> None:
    for one in example()["comparisons"]:
        row = row_with(page, one["text"])
        difference = one["difference"]
        assert_says(row, 100 * one["accuracy"], difference["value"], difference["low"], difference["high"], 8)


def test_the_risk_map_appears_with_intervals_null_and_controls(page: Page) -> None:
    for entry in example()["entries"]:
        for region in (entry["risk_map"] or {"regions": []})["regions"]:
            row = row_with(page, f" {region['name']} ", "parameter")
            for end in ("value", "low", "high"):
                assert_says(row, region["leakage_drop"][end], 100 * region["accuracy_change"][end], region["null"][end])
            control = region["random_channels"]
            assert_says(row, control["leakage_drop"], 100 * control["accuracy_change"], region["n_parameters"])
            assert_says(row, 100 * region["share"], region["displacement"])
            assert all(flag in row for flag in region["flags"])
        for one in (entry["risk_map"] or {"sets": []})["sets"]:
            row = row_with(page, " + ".join(one["regions"]))
            for end in ("value", "low", "high"):
                assert_says(row, one["leakage_drop"][end], 100 * one["accuracy_change"][end])


def test_the_plan_appears(page: Page) -> None:
    plan = example()["entries"][-1]["plan"]
    for stretch in plan["stretches"]:
        row = row_with(page, stretch["region"], f"{stretch['first']}–{stretch['last']}")
        assert_says(row, 100 * stretch["keep"], 100 * (1 - stretch["keep"]))
    assert plan["reason"] in page.text
    assert "7 of 8 models chose stage 3 and stage 4" in page.text
    for spread, unit in ((plan["accuracy_change"], 100), (plan["leakage_after"], 1)):
        assert_says(page.text, *(unit * spread[end] for end in ("value", "low", "high")))
    assert_says(page.text, plan["leakage_before"], plan["n_candidates"], plan["seconds"])


def test_exposed_records_settings_versions_costs_and_limits_appear(page: Page) -> None:
    results = example()
    for entry in results["entries"]:
        for one in entry["exposed"]:
            row = row_with(page, str(one["index"]), one["label"], one["slice"])
            assert_says(row, 100 * one["caught"], one["n_targets"])
    assert "16, 32, 64, 128" in row_with(page, "recipe.widths")
    assert "0.1" in row_with(page, "recipe.lr")
    assert "2.13.0" in row_with(page, "torch")
    assert "max_accuracy_drop = 0" in row_with(page, "PPTP", "41.7 s")
    for attack in results["attacks"]:
        assert attack["what"] in row_with(page, attack["name"], attack["threat_model"])
    assert results["limits"][0] in page.text
    assert "8 models played target" in page.text
    assert_says(page.text, *(results["task"][name] for name in ("pool", "canaries", "test", "holdout")))


def test_nothing_is_loaded_from_the_network(page: Page, html: str) -> None:
    assert not [tag for tag, _ in page.tags if tag in {"link", "img", "iframe", "object", "embed", "audio", "video"}]
    for tag, attributes in page.tags:
        assert not {"src", "srcset", "data", "action", "xlink:href"} & set(attributes), (tag, attributes)
        target = attributes.get("href")
        if target is not None and not target.startswith("#"):
            assert tag == "a"
            assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}", target)
    assert "url(" not in html
    assert "@import" not in html
    code = "".join(page.inside["script"]).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"fetch|XMLHttp|WebSocket|sendBeacon|import\s*\(|innerHTML|eval\(|://", code)


def test_the_policy_allows_only_our_own_style_and_script(page: Page) -> None:
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        digest = hashlib.sha256("".join(page.inside[tag]).encode()).digest()
        assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert not [a for _, a in page.tags if any(name == "style" or name.startswith("on") for name in a)]


def test_figures_are_whole_and_finite(html: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) > 20
    for drawing in drawings:
        for part in ET.fromstring(drawing).iter():
            for name in ("d", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "width", "height", "points"):
                assert not re.search(r"nan|inf", part.get(name, ""))


def test_figures_are_labelled_and_tables_have_captions(page: Page) -> None:
    drawings = [a for tag, a in page.tags if tag == "svg"]
    assert all(a.get("aria-hidden") == "true" or (a.get("role") == "img" and a.get("aria-label")) for a in drawings)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption")
    assert tags.count("h1") == 1


def test_the_page_shows_one_state_of_each_figure_at_first(html: str) -> None:
    assert len(re.findall(r'class="panel"', html)) == 2  # one frontier, one ROC
    assert len(re.findall(r'class="panel off"', html)) == (4 * 2 - 1) + (2 * 2 - 1)  # measures, scales x slices
    assert html.count("not resolvable on this slice") == 1


def replace_texts(value: Any, key: str = "") -> Any:  # noqa: ANN401 -- any JSON value
    """The same results with a hostile text wherever there is free text; names keep a number to stay different."""
    if isinstance(value, dict):
        return {name: replace_texts(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [replace_texts(inner, key) for inner in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) and key not in ("format", "strongest") else value


def test_hostile_texts_are_escaped_everywhere(tmp_path: Path) -> None:
    results = replace_texts(example())
    for entry in results["entries"]:
        for name in list(entry["slices"]):
            part = entry["slices"][name]
            part["attacks"] = {f"{attack}{HOSTILE}": one for attack, one in part["attacks"].items()}
            part["strongest"] += HOSTILE
            entry["slices"][f"third{HOSTILE}"] = copy.deepcopy(part)
    results["settings"][HOSTILE] = HOSTILE
    results["versions"][HOSTILE] = HOSTILE
    whole = to_html(results, tmp_path / "page.html").read_text("utf-8")
    page, clean = Page.of(whole), Page.of(html_of(example(), tmp_path))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert set(tags) == {tag for tag, _ in clean.tags}
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert page.inside["script"] == clean.inside["script"]
    assert "{{ 7 * 7 }}" in page.text
    assert "<script>alert(1)</script>" in page.text  # as words


def optional_parts() -> Iterator[tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]]:
    for name in ("created", "settings", "versions", "baseline", "attacks", "comparisons", "limits", "against", "tier"):
        yield name, lambda results, name=name: results
    for name in ("risk", "groups", "epsilon", "facts", "about"):
        yield name, lambda results, name=name: results["entries"][0]
    for name in ("reading", "cost", "cost_measured_on", "notes"):
        yield name, lambda results, name=name: results["entries"][-1]["about"]
    for name in ("overlap", "falsely_twice_by_chance"):
        yield name, lambda results, name=name: results["entries"][0]["risk"]
    for name in ("models",):
        yield name, lambda results, name=name: results["entries"][0]["exposed"][0]["by"]
    yield "by", lambda results: results["entries"][0]["exposed"][0]
    for name in ("next", "unread"):
        yield name, lambda results, name=name: results["tier"]
    yield "tpr", lambda results: results["against"][0]["slices"]["canaries"]
    for name in ("defense", "exposed", "plan", "plans_agreement", "risk_map", "seconds"):
        yield name, lambda results, name=name: results["entries"][-1]
    for name in ("canaries", "holdout", "test", "members_per_model", "classes"):
        yield name, lambda results, name=name: results["task"]
    for name in ("train", "gap"):
        yield name, lambda results, name=name: results["entries"][0]["accuracy"]
    for name in ("window", "accuracy", "leakage", "n_members", "n_holdout", "seconds", "flags", "sets"):
        yield name, lambda results, name=name: results["entries"][-1]["risk_map"]
    for name in ("null", "random_channels", "flags"):
        yield name, lambda results, name=name: results["entries"][-1]["risk_map"]["regions"][0]
    for name in ("accuracy_change", "leakage_before", "leakage_after", "seconds", "n_candidates", "reason"):
        yield name, lambda results, name=name: results["entries"][-1]["plan"]
    for name in ("roc", "tpr"):
        yield name, lambda results, name=name: results["entries"][0]["slices"]["canaries"]["attacks"]["lira"]
    yield "canaries", lambda results: results["entries"][1]["slices"]


@pytest.mark.parametrize("number", range(len(list(optional_parts()))))
def test_an_optional_part_may_be_missing_or_null(number: int, tmp_path: Path) -> None:
    name, find = list(optional_parts())[number]
    results = example(2)
    find(results).pop(name)
    html_of(results, tmp_path)
    if name not in ("canaries",):
        results = example(2)
        find(results)[name] = None
        html_of(results, tmp_path)


def test_bare_results_make_a_page_and_pictures(tmp_path: Path) -> None:
    spread = {"value": None, "low": None, "high": None}
    part = {"n_members": 0, "n_non_members": 0, "strongest": "loss", "attacks": {"loss": {"auc": spread}}}
    bare = {
        "format": "membrane results 1",
        "title": "Bare",
        "task": {"source": "nothing", "pool": 0, "n_models": 0},
        "entries": [{"label": "a", "accuracy": {"test": {**spread, "n": 0}}, "slices": {"people": part}}],
    }
    page = Page.of(to_html(bare, tmp_path / "bare.html").read_text("utf-8"))
    assert "What this does not show" in page.text
    assert "The results hold no ROC curves." in page.text
    assert (tmp_path / "bare-frontier.png").is_file()


def test_null_numbers_are_shown_as_absent(tmp_path: Path) -> None:
    results = example(2)
    for spread in (results["entries"][0]["slices"]["population"]["attacks"]["lira"]["auc"],):
        spread.update(value=None, low=None, high=None)
    for region in results["entries"][1]["risk_map"]["regions"]:
        region["leakage_drop"].update(value=None, low=None, high=None)
        region["displacement"] = region["share"] = None
    results["entries"][1]["exposed"][0]["caught"] = None
    page = Page.of(to_html(results, tmp_path / "page.html").read_text("utf-8"))
    assert "None" not in page.text
    assert "nan" not in page.text.lower().split()


@pytest.mark.slow
def test_many_entries_and_attacks_make_a_page(tmp_path: Path) -> None:
    results = example()
    spare = results["entries"][1]
    results["entries"] += [{**copy.deepcopy(spare), "label": f"early stopping {i}"} for i in range(25)]
    page = Page.of(to_html(results, tmp_path / "page.html").read_text("utf-8"))
    assert "early stopping 24" in page.text


def test_a_single_entry_compares_attacks(tmp_path: Path) -> None:
    html = html_of(example(1), tmp_path)
    assert "plot roc by-attack" in html
    assert "Defenses side by side" not in html
    assert "Lower measured leakage is a measurement" in html


def test_the_same_results_give_the_same_bytes_and_stay_untouched(tmp_path: Path) -> None:
    results = example()
    first = {p.name: p.read_bytes() for p in to_html(results, tmp_path / "a" / "r.html").parent.iterdir()}
    again = {p.name: p.read_bytes() for p in to_html(results, tmp_path / "b" / "r.html").parent.iterdir()}
    assert first == again
    assert set(first) == {"r.html", "r-frontier.png", "r-roc.png", "r-risk-map.png"}
    assert all(content.startswith(b"\x89PNG") for name, content in first.items() if name.endswith("png"))
    assert results == example()


def test_pictures_can_be_left_out(tmp_path: Path) -> None:
    to_html(example(1), str(tmp_path / "page.html"), png=False)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_what_is_not_ours_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a results file"):
        to_html({"format": "something else"}, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        to_html(example(1), tmp_path / "file" / "page.html", png=False)
