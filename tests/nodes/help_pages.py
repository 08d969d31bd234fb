"""What the help pages and the locales have to hold, derived from the nodes' schemas.

The front end looks a text up in ``locales/<language>/nodeDefs.json`` by node, input name (a dot becomes ``_``) and
number of the output, and help in ``docs/<NodeID>/<language>.md``, then ``docs/<NodeID>.md``; pictures are looked for
from ``docs/`` in both cases.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "nodes" / "web" / "docs"
LOCALES = ROOT / "locales"
LANGUAGES = ("en", "zh")
GROWING = "COMFY_AUTOGROW_V3"

TITLES = {"en": ("Inputs", "Outputs"), "zh": ("输入", "输出")}
WORDS = {
    "en": {
        "entry": "- {} ({}): {}",
        "comma": ", ",
        "or": " or ",
        "default": "default {}",
        "optional": "optional",
        "advanced": "advanced",
        "several": "{}, 1 to {} inputs",
    },
    "zh": {
        "entry": "- {}（{}）：{}",
        "comma": "，",
        "or": " 或 ",
        "default": "默认 {}",
        "optional": "可选",
        "advanced": "高级",
        "several": "{}，1 至 {} 个输入",
    },
}


def page_path(node_id: str, language: str) -> Path:
    """Where the front end finds the page of a node; English is what it falls back to."""
    return DOCS / f"{node_id}.md" if language == "en" else DOCS / node_id / f"{language}.md"


def locale_path(language: str, name: str = "nodeDefs") -> Path:
    """A locale file."""
    return LOCALES / language / f"{name}.json"


def read_locale(language: str, name: str = "nodeDefs") -> dict[str, Any]:
    """A locale file, {} where there is none."""
    path = locale_path(language, name)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


# --- what a schema says -----------------------------------------------------------------------------------------------


def inputs_of(info: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], bool]]:
    """Id, type, options and whether it is optional of every input, as a server tells them of a node."""
    for section in ("required", "optional"):
        for name, (io_type, options) in info["input"].get(section, {}).items():
            yield name, io_type, options, section == "optional"


def english(infos: Mapping[str, Any]) -> dict[str, Any]:
    """The English ``nodeDefs.json``: every text of the schemas, in the nodes' order."""
    return {name: _texts(info) for name, info in infos.items()}


def _texts(info: Mapping[str, Any]) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for name, io_type, options, _ in inputs_of(info):
        told = options.get("tooltip")
        inputs[name.replace(".", "_")] = {"name": options.get("display_name") or name, "tooltip": told}
        if io_type == GROWING:
            for each in options["template"]["names"]:
                inputs[f"{name}_{each}".replace(".", "_")] = {"name": each, "tooltip": told}
    outputs = {
        str(place): {"name": name, "tooltip": told}
        for place, (name, told) in enumerate(zip(info["output_name"], info["output_tooltips"], strict=True))
    }
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": inputs,
        "outputs": outputs,
    }


def flat(texts: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Nested texts by their dotted place."""
    found: dict[str, str] = {}
    for key, value in texts.items():
        place = f"{before}.{key}" if before else key
        found |= flat(value, place) if isinstance(value, Mapping) else {place: value}
    return found


def lacking(infos: Mapping[str, Any], language: str) -> tuple[list[str], list[str]]:
    """Places of texts that a locale lacks, and of those that it has in vain."""
    wanted, there = flat(english(infos)), flat(read_locale(language))
    return [place for place in wanted if not there.get(place)], [place for place in there if place not in wanted]


# --- lists of the pages -----------------------------------------------------------------------------------------------


def lists(info: Mapping[str, Any], texts: Mapping[str, Any], language: str) -> tuple[str, str]:
    """The lists of inputs and outputs of a page, in Markdown: the help panel is too narrow for a table."""
    words, told = WORDS[language], texts["inputs"]
    inputs = []
    for name, io_type, options, optional in inputs_of(info):
        kind, default = _kind(io_type, options, language), _default(io_type, options)
        about = [kind, words["default"].format(default) if default else ""]
        about += [words["optional"] if optional else "", words["advanced"] if options.get("advanced") else ""]
        shown = words["comma"].join(filter(None, about))
        inputs.append(words["entry"].format(_label(name, told[name]["name"]), shown, told[name]["tooltip"]))
    outputs = []
    for place, (name, kind) in enumerate(zip(info["output_name"], info["output"], strict=True)):
        said = texts["outputs"][str(place)]
        outputs.append(words["entry"].format(_label(name, said["name"]), kind, said["tooltip"]))
    return "\n".join(inputs), "\n".join(outputs)


def _label(name: str, shown: str) -> str:
    return f"`{name}`" if shown == name else f"{shown} `{name}`"


def _kind(io_type: str, options: Mapping[str, Any], language: str) -> str:
    if io_type != GROWING:
        return io_type.replace(",", WORDS[language]["or"])
    template = options["template"]
    (one,) = template["input"]["required"].values()
    return WORDS[language]["several"].format(one[0], len(template["names"]))


def _default(io_type: str, options: Mapping[str, Any]) -> str:
    value = options.get("default")
    if value is None or options.get("forceInput"):
        return ""
    return f"`{str(value).lower() if io_type == 'BOOLEAN' else value}`"


def section(page: str, title: str) -> str:
    """What stands under a second-level heading of a page, "" where there is none."""
    found = re.search(rf"^## {re.escape(title)}\n+(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return found.group(1).strip() if found else ""


def with_lists(page: str, both: tuple[str, str], language: str) -> str:
    """The page with these lists under its headings."""
    for title, entries in zip(TITLES[language], both, strict=True):
        heading = rf"^(## {re.escape(title)}\n+).*?(?=^## |\Z)"
        page = re.sub(heading, lambda found, entries=entries: f"{found.group(1)}{entries}\n\n", page, flags=re.M | re.S)
    return page


def renew(infos: Mapping[str, Any]) -> None:
    """Write the English locale, and the lists of all pages whose texts are complete."""
    write_json(locale_path("en"), english(infos))
    for language in LANGUAGES:
        locale = read_locale(language)
        for name, info in infos.items():
            path = page_path(name, language)
            if path.exists() and not any(place.startswith(f"{name}.") for place in lacking(infos, language)[0]):
                page = path.read_text(encoding="utf-8")
                path.write_text(with_lists(page, lists(info, locale[name], language), language), encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """As a person would lay it out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
