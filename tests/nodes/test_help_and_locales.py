"""Every node has its help, and every text of the schemas is there in both languages.

After a change of the schemas run this file with ``--renew-golden``: it writes the English locale and
the lists in the help pages. What the Chinese locale lacks is listed by the test that fails.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.comfy_types import node_info
from tests.nodes import help_pages as pages
from tests.nodes.running import TINY, Pack

NODES = 17
KILOBYTES = 600
HAN = re.compile(r"[\u4e00-\u9fff]")
SENTENCE = re.compile(r"(?:[A-Za-z]+[ ,]+){5,}[A-Za-z]+")
"""Six Latin words in a row: more than a name, hence not translated."""
SYNTAX = re.compile(r"[{}@|]")
"""Means something to vue-i18n, which formats names and descriptions."""
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
TROUBLE = re.compile(r"^- \*\*(.+?)\*\*", re.MULTILINE)
SOURCE = re.compile(r"https://(arxiv\.org/abs/\d{4}\.\d{5}|doi\.org/10\.\d{4}/[\w.%-]+|github\.com/[\w./-]+)")
MESSAGE = re.compile(r"[\"“]([a-z][^\"”]+)[\"”]")
HEADINGS = {
    "en": ["When to use it", "Inputs", "Outputs", "When it goes wrong", "Source"],
    "zh": ["何时使用", "输入", "输出", "出错时怎么办", "出处"],
}


@pytest.fixture
def infos(pack: Pack) -> dict[str, Any]:
    """What a fresh installation tells of each node."""
    pack.bridge.model_path(TINY).unlink()
    return {name: node_info(node) for name, node in pack.nodes.items()}


def page(name: str, language: str) -> str:
    path = pages.page_path(name, language)
    assert path.is_file(), f"no help: {path.relative_to(pages.ROOT)}"
    return path.read_text(encoding="utf-8")


def own_words(text: str) -> str:
    """Without what stays as it is in any language: names in quotes or backticks, addresses, file names, node names."""
    return re.sub(r"`[^`]*`|“[^”]*”|\"[^\"]*\"|\]\([^)]*\)|https?://\S+", "", text)


def test_texts_of_the_schemas_are_as_they_were(infos: dict[str, Any], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--renew-golden"):
        pages.renew(infos)
    assert len(infos) == NODES
    assert pages.read_locale("en") == pages.english(infos)


def test_the_chinese_locale_is_complete(infos: dict[str, Any]) -> None:
    missing, vain = pages.lacking(infos, "zh")
    told = pages.flat(pages.english(infos))
    assert not missing, "not translated:\n" + "\n".join(f"{place}: {told[place]}" for place in missing)
    assert not vain, "no such text any more:\n" + "\n".join(vain)


def test_the_chinese_locale_is_chinese() -> None:
    for place, text in pages.flat(pages.read_locale("zh")).items():
        assert HAN.search(text), f"{place}: {text}"
        assert not SENTENCE.search(own_words(text)), f"{place}: {text}"


def test_numbers_of_a_tooltip_are_the_same_in_both_languages() -> None:
    """A range that was changed in one language only would mislead readers of the other."""
    number = re.compile(r"(?<![A-Za-z\d.])\d+(?:\.\d+)?")
    chinese = pages.flat(pages.read_locale("zh"))
    for place, text in pages.flat(pages.read_locale("en")).items():
        if place.endswith(".tooltip"):
            assert sorted(number.findall(text)) == sorted(number.findall(chinese[place])), place


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_texts_have_nothing_that_the_front_end_would_read_as_syntax(language: str) -> None:
    for name in ("nodeDefs", "main"):
        for place, text in pages.flat(pages.read_locale(language, name)).items():
            assert not SYNTAX.search(text), f"{place}: {text}"


def test_categories_have_names_in_both_languages(infos: dict[str, Any]) -> None:
    wanted = {part for info in infos.values() for part in info["category"].split("/")}
    for language in pages.LANGUAGES:
        assert set(pages.read_locale(language, "main")["nodeCategories"]) == wanted


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_every_node_has_a_help_page_with_its_inputs_and_outputs(infos: dict[str, Any], language: str) -> None:
    locale = pages.read_locale(language)
    for name, info in infos.items():
        text = page(name, language)
        assert text.startswith(f"# {locale[name]['display_name']}\n"), name
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS[language], name
        for title, entries in zip(pages.TITLES[language], pages.lists(info, locale[name], language), strict=True):
            assert pages.section(text, title) == entries, f"{name}: {title}; --renew-golden writes it"
        for title in HEADINGS[language]:
            assert len(pages.section(text, title)) > 20, f"{name}: {title}"


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_every_help_page_has_a_picture_that_is_there(infos: dict[str, Any], language: str) -> None:
    for name in infos:
        found = PICTURE.findall(page(name, language))
        assert found, name
        for told, link in found:
            assert len(told) >= 5, f"{name}: {link} needs words for those who do not see it"
            assert (pages.DOCS / link).is_file(), f"{name}: {link}"


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_messages_that_a_page_quotes_are_those_of_the_nodes(infos: dict[str, Any], language: str) -> None:
    """Whoever has an error before them searches for its words."""
    files = [path for folder in ("nodes", "idfsr_core") for path in (pages.ROOT / folder).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    quoted = 0
    for name in infos:
        for message in MESSAGE.findall(" ".join(TROUBLE.findall(page(name, language)))):
            for part in filter(None, re.split(r"\.\.\.|: |, | and | ?\d+(?:x\d+)? ?", message)):
                assert part.strip() in code, f"{name}: {message}"
                quoted += 1
    assert quoted > 30


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_sources_can_be_looked_up(infos: dict[str, Any], language: str) -> None:
    """Addresses are whole and the same in both languages."""
    for name in infos:
        links = re.findall(r"\]\((https://[^)]+)\)", page(name, language))
        assert all(SOURCE.fullmatch(link) for link in links)
        assert links == re.findall(r"\]\((https://[^)]+)\)", page(name, "en")), name


def test_chinese_pages_are_chinese(infos: dict[str, Any]) -> None:
    for name in infos:
        for line in page(name, "zh").splitlines():
            assert not SENTENCE.search(own_words(line)), f"{name}: {line}"


def test_no_page_and_no_picture_is_left_over(infos: dict[str, Any]) -> None:
    files = {path.relative_to(pages.DOCS).as_posix() for path in pages.DOCS.rglob("*") if path.is_file()}
    wanted = {
        pages.page_path(name, each).relative_to(pages.DOCS).as_posix() for name in infos for each in pages.LANGUAGES
    }
    shown = {link for name in infos for _, link in PICTURE.findall(page(name, "en"))}
    assert files == wanted | shown
    assert sum((pages.DOCS / link).stat().st_size for link in shown) < KILOBYTES * 1000
